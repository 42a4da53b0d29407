"""The contract of a Markov kernel, and the loop that runs one."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, create_model
from torch import Tensor

from ebmpipe.energies import Energy

#: Constructor arguments, with the ranges that a config is held to.
StepSize = Annotated[float, Field(gt=0, description="ε of the drift (ε²/2) ∇E, in data units")]
NoiseScale = Annotated[float | None, Field(ge=0, description="standard deviation of the noise, in data units; null: the step size")]


class State(NamedTuple):
    """Chains. ``x`` (n, *event) are the positions; a kernel that needs E and its gradient there again caches them."""

    x: Tensor
    energy: Tensor | None = None
    gradient: Tensor | None = None


class Info(NamedTuple):
    """What one step reports: the acceptance probability of each chain, (n,); 1 for kernels without rejection."""

    accept_prob: Tensor


@dataclass(frozen=True)
class Summary:
    """What a run of a kernel reports and cost.

    Attributes:
        steps: steps taken by each chain.
        gradient_evaluations: input gradients taken, over all chains.
        acceptance: mean acceptance probability over chains and steps.
        temperature: T such that the kernel's law approaches p^(1/T) for small steps; 1 for exact kernels.
    """

    steps: int
    gradient_evaluations: int
    acceptance: float
    temperature: float


class Kernel(ABC):
    """A Markov kernel for p ∝ exp(-E) over any event shape, device and floating type. All randomness is the generator's.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the same inputs would give other chains.
        gradients_at_init: input gradients per chain taken by `init`.
        gradients_per_step: input gradients per chain taken by `step`.
        temperature: as in `Summary`.
        adjusted: whether proposals are accepted or rejected, so that acceptance means something.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    gradients_at_init: int = 0
    gradients_per_step: int = 1
    temperature: float = 1.0
    adjusted: bool = False

    @abstractmethod
    def init(self, energy: Energy, x: Tensor) -> State:
        """The state of chains at ``x`` (n, *event)."""

    @abstractmethod
    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One transition of every chain."""

    @classmethod
    def settings_model(cls) -> type[BaseModel]:
        """The constructor's arguments as a model that checks them: names, types, ranges, defaults."""
        hints = get_type_hints(cls.__init__, include_extras=True)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        fields: dict[str, Any] = {p.name: (hints[p.name], ... if p.default is inspect.Parameter.empty else p.default) for p in parameters}
        return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **fields)

    def cost(self, steps: int) -> int:
        """Input gradients per chain of a run of ``steps``."""
        return self.gradients_at_init + steps * self.gradients_per_step


@torch.no_grad()
def run(kernel: Kernel, energy: Energy, x: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Summary]:
    """Run chains from ``x`` (n, *event) for ``steps`` steps; returns their last positions and a summary.

    Wrap the energy's module in `ebmpipe.energies.frozen` when it has parameters that train.
    """
    state = kernel.init(energy, x)
    acceptance = torch.zeros((), dtype=torch.float64, device=x.device)
    for _ in range(steps):
        state, info = kernel.step(energy, state, generator)
        acceptance += info.accept_prob.mean()
    return state.x, Summary(
        steps=steps,
        gradient_evaluations=x.shape[0] * kernel.cost(steps),
        acceptance=float(acceptance) / steps if steps else 1.0,
        temperature=kernel.temperature,
    )
