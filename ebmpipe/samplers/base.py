"""The contract of a Markov kernel, and the loop that runs one."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, create_model
from torch import Tensor

from ebmpipe.energies import Energy, value_and_gradient
from ebmpipe.samplers.reflection import reflected
from ebmpipe.spec import Kind

#: Constructor arguments, with the ranges that a config is held to.
StepSize = Annotated[float, Field(gt=0, description="ε of the drift (ε²/2) ∇E, in data units")]
NoiseScale = Annotated[float | None, Field(ge=0, description="standard deviation of the noise, in data units; null: the step size")]
Clip = Annotated[float | None, Field(gt=0, description="largest absolute value of a coordinate of ∇E, in nats per data unit; null: none")]


class State(NamedTuple):
    """Chains. ``x`` (n, *event) are the positions; a kernel that needs E and its gradient there again caches them.

    ``memory`` is what else the kernel carries from step to step: momenta, replicas, a clock.
    """

    x: Tensor
    energy: Tensor | None = None
    gradient: Tensor | None = None
    memory: Any = None


class Info(NamedTuple):
    """What one step reports.

    Attributes:
        accept_prob: acceptance probability of each chain, (n,); 1 for kernels without rejection.
        gradient: the input gradients that the step was made with, (n, *event), where it began.
        evaluations: input gradients taken, over all chains; None if they are `Kernel.gradients_per_step` per chain.
        clipped: fraction of the gradients' coordinates that were clipped; None for none.
        swap_prob: probability of a swap of replicas, mean over chains and the pairs that were tried; None where there are no replicas.
    """

    accept_prob: Tensor
    gradient: Tensor | None = None
    evaluations: int | None = None
    clipped: Tensor | None = None
    swap_prob: Tensor | None = None


@dataclass(frozen=True)
class Summary:
    """What a run of a kernel reports and cost.

    Attributes:
        steps: steps taken by each chain.
        gradient_evaluations: input gradients taken, over all chains.
        acceptance: mean acceptance probability over chains and steps.
        temperature: T such that the kernel's law approaches p^(1/T) for small steps; 1 for exact kernels. Of a run that ended before its
            kernel came to its target, that of the last step.
        clipped: fraction of the gradients' coordinates that were clipped. Where it is not 0, the temperature no longer holds.
        gradient_norm: mean Euclidean norm of ∇E along the chains, in nats per data unit.
        state: where the run ended; `run` goes on from there as if it had never stopped.
        swaps: mean probability of a swap of replicas; None where there are no replicas or no step was taken.
    """

    steps: int
    gradient_evaluations: int
    acceptance: float
    temperature: float
    clipped: float
    gradient_norm: float
    state: State
    swaps: float | None = None


class Kernel(ABC):
    """A Markov kernel for p ∝ exp(-E) over any event shape, device and floating type. All randomness is the generator's.

    What is said of gradients holds of evaluations of E alone, where a kernel takes those: each counts as one.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the same inputs would give other chains.
        kinds: the kinds of data whose laws it moves on.
        gradients_at_init: input gradients per chain taken by `init`.
        gradients_per_step: input gradients per chain taken by `step`; the most it may take if their number is random.
        random_cost: whether the number of gradients of a step is random; `Info.evaluations` then counts them.
        one_point_per_chain: whether E is only ever evaluated at n points, the i-th being of chain i: each chain may then have an E of its
            own.
        temperature: as in `Summary`, of runs longer than ``steps_to_target``.
        steps_to_target: steps from a start before the first one that is made for p^(1/T), as the clock of an annealed kernel tells.
        adjusted: whether proposals are accepted or rejected, so that acceptance means something.
        target_acceptance: acceptance at which the kernel is efficient; None where nothing is rejected.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors", "images"})
    step_size: float
    gradients_at_init: int = 0
    gradients_per_step: int = 1
    random_cost: bool = False
    one_point_per_chain: bool = True
    temperature: float = 1.0
    steps_to_target: int = 0
    adjusted: bool = False
    target_acceptance: float | None = None
    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remembers the constructor's arguments, for `with_step_size`."""
        kernel = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(kernel, *args, **kwargs).arguments
        kernel._arguments = dict(list(bound.items())[1:])
        return kernel

    def with_step_size(self, step_size: float) -> Self:
        """The same kernel with another ε; arguments that were left to follow from ε follow from the new one."""
        return type(self)(**(self._arguments | {"step_size": step_size}))

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

    def temperature_at(self, state: State) -> float:
        """T of the step that led to ``state``, or of the next one if there was none."""
        return self.temperature

    def cost(self, steps: int) -> int:
        """Input gradients per chain of a run of ``steps``; the most there may be if their number is random."""
        return self.gradients_at_init + steps * self.gradients_per_step


def check_reaches_target(kernel: Kernel, steps: int) -> None:
    """Refuse runs from positions that end before their kernel has made a step for its target.

    Raises:
        ValueError: if ``steps`` are not more than `Kernel.steps_to_target`.
    """
    if steps <= kernel.steps_to_target:
        raise ValueError(
            f"{kernel.name} comes to its target after {kernel.steps_to_target} steps, and every run starts anew: {steps} steps never "
            f"sample it; take at least {kernel.steps_to_target + 1} steps, or fewer or shorter levels"
        )


def chosen(which: Tensor, one: State, other: State) -> State:
    """``one`` where ``which`` (n,) bool, else ``other``."""
    assert one.energy is not None and other.energy is not None and one.gradient is not None and other.gradient is not None
    wide = which.view(-1, *[1] * (one.x.dim() - 1))
    return State(
        torch.where(wide, one.x, other.x), torch.where(which, one.energy, other.energy), torch.where(wide, one.gradient, other.gradient)
    )


def evaluated(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """E (n,) and its gradient (n, *event) at ``x`` (n, *event), for an `init` that caches them.

    Raises:
        ValueError: if they have other shapes.
    """
    value, slope = value_and_gradient(energy, x)
    if value.shape != x.shape[:1] or slope.shape != x.shape:
        raise ValueError(
            f"an energy must map (n, *event) to (n,), one number for each example, and its gradient to (n, *event); for positions "
            f"{tuple(x.shape)} they are {tuple(value.shape)} and {tuple(slope.shape)}"
        )
    return value, slope


@torch.no_grad()
def run(kernel: Kernel, energy: Energy, x: Tensor | State, steps: int, generator: torch.Generator) -> tuple[Tensor, Summary]:
    """Run chains for ``steps`` steps; returns their last positions and a summary.

    Wrap the energy's module in `ebmpipe.energies.frozen` when it has parameters that train. An energy that declares a box as its
    ``support`` is sampled there, by reflection at its walls.

    Args:
        kernel: what moves the chains.
        energy: E, (n, *event) -> (n,).
        x: positions (n, *event) to start from, or the `Summary.state` of an earlier run to go on from.
        steps: steps of each chain, at least 0.
        generator: the source of all randomness.

    Raises:
        ValueError: if an event has no axis or ``steps`` is negative; if the energy is not one number for each example, which
            kernels that take gradients alone cannot tell.
    """
    if steps < 0:
        raise ValueError(f"the number of steps must be at least 0, got {steps}")
    if isinstance(x, Tensor) and x.dim() < 2:
        raise ValueError(f"positions must be (n, *event) with at least one axis of an event, got shape {tuple(x.shape)}: take x[:, None]")
    energy, box = reflected(energy)
    started = isinstance(x, Tensor)
    state = kernel.init(energy, x) if isinstance(x, Tensor) else x
    n = state.x.shape[0]
    totals = torch.zeros(4, dtype=torch.float64, device=state.x.device)
    acceptance, norm, clipped, swaps = totals.unbind()
    swapping = False
    evaluations = n * kernel.gradients_at_init if started else 0
    for _ in range(steps):
        state, info = kernel.step(energy, state, generator)
        acceptance += info.accept_prob.mean()
        if info.gradient is not None:
            norm += torch.linalg.vector_norm(info.gradient.flatten(1), dim=1).mean()
        if info.clipped is not None:
            clipped += info.clipped
        if info.swap_prob is not None:
            swaps += info.swap_prob
            swapping = True
        evaluations += n * kernel.gradients_per_step if info.evaluations is None else info.evaluations
    acceptance_, norm_, clipped_, swaps_ = (totals / max(steps, 1)).tolist()
    return box.fold(state.x) if box else state.x, Summary(
        steps=steps,
        gradient_evaluations=evaluations,
        acceptance=acceptance_ if steps else 1.0,
        temperature=kernel.temperature_at(state),
        clipped=clipped_,
        gradient_norm=norm_,
        state=state,
        swaps=swaps_ if swapping else None,
    )
