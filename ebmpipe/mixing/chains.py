"""Moving the chains of a long run: where they start, how their kernel is adapted, and what is kept of them on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import LongRunConfig
from ebmpipe.energies import Energy, GaussianLaw, Law
from ebmpipe.methods.base import build_kernel
from ebmpipe.mixing.diagnostics import ess
from ebmpipe.mixing.record import LATENT
from ebmpipe.samplers.adaptation import adapt
from ebmpipe.samplers.base import Kernel, State
from ebmpipe.transported_law import TransportedLaw

#: Chains that a step size is found on: their mean acceptance is known to a few percent at every step.
ADAPTATION_CHAINS = 32
#: Times that starts of zero density are drawn again.
TRIES = 100
#: Fewest draws of each chain that mixing can be judged by, halves of chains being judged as chains.
FEWEST_DRAWS = 8
#: Numbers whose decades the frames are taken at.
MARKS = (1, 3)
#: Factors on a step size that are tried first where the effective sample size decides, each twice the last, and how often that is extended.
FACTORS, EXTENSIONS = tuple(2.0**power for power in range(-4, 5)), 8
#: Mean acceptance below which chains have not moved, and no number of theirs says anything.
STUCK = 0.01


@dataclass(frozen=True)
class Course:
    """A kernel of a long run and the space that it moves chains in.

    Attributes:
        name: what its numbers go by: the kernel's name, after ``latent_`` if it moves latent vectors.
        kernel: unadapted.
        settings: of the kernel, as given.
        latent: whether it moves latent vectors.
    """

    name: str
    kernel: Kernel
    settings: Mapping[str, Any]
    latent: bool = False


def courses_of(config: LongRunConfig) -> list[Course]:
    """The kernels of long runs, those in data space first.

    Raises:
        UnknownMember: if there is no such kernel.
        ValueError: if one's settings are wrong, it is named twice in a space, has no fixed cost, carries more than positions, energies and
            gradients from step to step, or takes too few steps for the gradient evaluations that each chain has.
    """
    named = [(one, False) for one in config.kernels] + [(one, True) for one in config.latent_kernels]
    found = [
        Course(LATENT * latent + one.name, build_kernel(one, kind="vectors" if latent else None), one.settings, latent)
        for one, latent in named
    ]
    for course in found:
        name, kernel = course.name, course.kernel
        if [other.name for other in found].count(name) > 1:
            raise ValueError(f"{name} is named twice: the metrics of a kernel go by its name")
        if kernel.random_cost:
            raise ValueError(f"the cost of a step of {name} is random, and the kernels of long runs have equal budgets: take mala or hmc")
        memory = kernel.init(lambda x: x.square().flatten(1).sum(1) / 2, torch.zeros(1, 1)).memory
        if memory is not None:
            raise ValueError(f"{name} moves more than the chains that are judged: take mala or hmc")
        table = Timetable.of(config, kernel)
        if table.draws < FEWEST_DRAWS:
            raise ValueError(
                f"{name} makes {table.steps} steps of {kernel.gradients_per_step} gradients, which leaves {table.draws} draws "
                f"after the warm-up, and mixing is judged by at least {FEWEST_DRAWS}: raise `steps`"
            )
    return found


@dataclass(frozen=True)
class Timetable:
    """When what is kept of chains.

    Attributes:
        steps: steps of each chain.
        warm_up: steps that mixing is not judged by.
        stride: steps between two draws.
        frames: steps at which the whole chains are kept.
    """

    steps: int
    warm_up: int
    stride: int
    frames: tuple[int, ...]

    @classmethod
    def of(cls, config: LongRunConfig, kernel: Kernel) -> Timetable:
        """As configured, for a kernel that pays for its steps what it does."""
        steps = config.steps // kernel.gradients_per_step
        kept = steps - round(config.warm_up * steps)
        stride = max(1, -(-kept // config.draws))
        warm_up = steps - kept // stride * stride
        return cls(steps, warm_up, stride, log_spaced(steps))

    @property
    def draws(self) -> int:
        """Draws of each chain."""
        return (self.steps - self.warm_up) // self.stride

    @property
    def stops(self) -> list[int]:
        """The steps at which energies are noted: before the first step, wherever anything is kept, and evenly in between."""
        even = range(self.steps, -1, -self.stride)
        return sorted({0, *even, *self.frames})

    def is_draw(self, step: int) -> bool:
        """Whether the chains at ``step`` are draws."""
        return step > self.warm_up and (step - self.warm_up) % self.stride == 0


def log_spaced(last: int) -> tuple[int, ...]:
    """0, 1, 3, 10, 30, … up to ``last``, which is the last; a mark within a tenth of it is left out.

    >>> log_spaced(2000)
    (0, 1, 3, 10, 30, 100, 300, 1000, 2000)
    """
    marks = [mark * 10**power for power in range(len(str(last))) for mark in MARKS]
    return (0, *(mark for mark in marks if mark < 0.9 * last), last)


def widened(law: Law, dispersion: float, n: int, generator: torch.Generator) -> Tensor:
    """``n`` over-dispersed draws, (n, *event): of a Gaussian with ``dispersion`` times its deviation, of what a map makes of latent vectors
    that are so much wider; on a box of the uniform law.
    """
    if isinstance(law, TransportedLaw):
        u = torch.randn(n, law.dimension, generator=generator, device=generator.device)
        return law.carried(dispersion * u.to(next(law.parameters(), u)))
    return (GaussianLaw(law.shape, law.mean, dispersion * law.std) if isinstance(law, GaussianLaw) else law).sample(n, generator)


def finite_starts(energy: Energy, law: Law, dispersion: float, n: int, generator: torch.Generator) -> Tensor:
    """Over-dispersed starts, (n, *event): ``law`` `widened`.

    Those where the density is zero are drawn again: a chain of an exact kernel would hardly ever find its way from there.
    """
    x = widened(law, dispersion, n, generator)
    for _ in range(TRIES):
        outside = torch.isposinf(energy(x))
        if not outside.any():
            break
        x = torch.where(outside.view(-1, *[1] * (x.dim() - 1)), widened(law, dispersion, n, generator), x)
    return x


@torch.no_grad()
def fastest(kernel: Kernel, energy: Energy, x: Tensor, steps: int, generator: torch.Generator) -> tuple[Kernel, int]:
    """The kernel with the step size whose chains from ``x`` have the largest effective sample size in bulk, and the input gradients taken.

    `FACTORS` times its own step size are tried; then longer ones, each twice the last, as long as chains get on at all, and shorter ones as
    long as they do not or are the better for it; at last those a factor √2 to either side of the best. Sizes count by their `typical_size`.
    If no step size has one, it is the shortest.
    """
    found: dict[float, float] = {}
    cost = 0

    def size(factor: float) -> float:
        nonlocal cost
        found[factor], taken = typical_size(kernel.with_step_size(kernel.step_size * factor), energy, x, steps, generator)
        cost += taken
        return found[factor]

    def best() -> float:
        return max(found, key=lambda factor: found[factor])

    for factor in FACTORS:
        size(factor)
    longer, shorter = max(FACTORS), min(FACTORS)
    for _ in range(EXTENSIONS):
        if not found[longer]:
            break
        longer *= 2
        size(longer)
    for _ in range(EXTENSIONS):
        if any(found.values()) and best() != shorter:
            break
        shorter /= 2
        size(shorter)
    if any(found.values()):
        middle = best()
        for factor in (middle / math.sqrt(2), middle * math.sqrt(2)):
            size(factor)
        return kernel.with_step_size(kernel.step_size * best()), cost
    return kernel.with_step_size(kernel.step_size * shorter), cost


@torch.no_grad()
def typical_size(kernel: Kernel, energy: Energy, x: Tensor, steps: int, generator: torch.Generator) -> tuple[float, int]:
    """The geometric mean, over coordinates and the energy, of the effective sample sizes in bulk of ``steps`` // 2 draws after as many
    steps from ``x``, and the input gradients taken.

    It is 0 of chains that are lost or `STUCK`. Of the least size nothing could be learned where modes are apart: no step size gets chains
    across, and that of a coordinate which tells modes apart is one draw for each chain whatever else they do.
    """
    _, summary = samplers.run(kernel, energy, x, 0, generator)
    cost, acceptance = summary.gradient_evaluations, 0.0
    draws, energies = [], []
    for _ in range(steps):
        at, summary = samplers.run(kernel, energy, summary.state, 1, generator)
        cost += summary.gradient_evaluations
        acceptance += summary.acceptance / steps
        draws.append(at.flatten(1))
        energies.append(energy(at) if summary.state.energy is None else summary.state.energy)
    kept = torch.cat([torch.stack(draws, 1), torch.stack(energies, 1)[:, :, None]], 2)[:, steps // 2 :].double().cpu().numpy()
    if not np.isfinite(kept).all() or (kernel.adjusted and acceptance < STUCK):
        return 0.0, cost
    sizes = np.array([ess(kept[:, :, place], "bulk") for place in range(kept.shape[2])])
    sizes = sizes[sizes > 0]  # nor NaN, of what is constant
    return (float(np.exp(np.log(sizes).mean())) if sizes.size else 0.0), cost


@dataclass
class Walk:
    """The chains of one kernel on their way, and what was kept of them so far; all that a resumed walk needs.

    Attributes:
        kernel: adapted.
        table: when what is kept.
        state: where the chains are.
        step: steps made.
        acceptance: sum of the mean acceptance probability over the steps.
        evaluations: input gradients so far, those of the adaptation included.
        energies: E (chains,) at every stop so far.
        draws: positions (chains, *event) of every draw so far.
        frames: positions of every frame so far.
        lost: why the chains broke off, None so far.
    """

    kernel: Kernel
    table: Timetable
    state: State
    step: int = 0
    acceptance: float = 0.0
    evaluations: int = 0
    energies: list[Tensor] = field(default_factory=list)
    draws: list[Tensor] = field(default_factory=list)
    frames: list[Tensor] = field(default_factory=list)
    lost: str | None = None

    @classmethod
    @torch.no_grad()
    def begin(cls, kernel: Kernel, energy: Energy, law: Law, config: LongRunConfig, generator: torch.Generator) -> Walk:
        """Adapt a kernel on chains of their own, and put the chains that are judged at their starts."""
        table = Timetable.of(config, kernel)
        starts = finite_starts(energy, law, config.dispersion, config.chains, generator)
        own = finite_starts(energy, law, config.dispersion, min(config.chains, ADAPTATION_CHAINS), generator)
        if not (energy(starts).isfinite().all() and energy(own).isfinite().all()):
            return cls(kernel, table, State(starts), lost="their energy is not finite where they start")
        if kernel.adjusted and config.adaptation == "acceptance":
            adapted, _, search = adapt(kernel, energy, own, config.adaptation_steps, generator)
            cost = search.gradient_evaluations
        else:
            adapted, cost = fastest(kernel, energy, own, config.adaptation_steps, generator)
        _, start = samplers.run(adapted, energy, starts, 0, generator)
        walk = cls(adapted, table, start.state, evaluations=cost + start.gradient_evaluations)
        walk.keep(energy, starts, config.energy_bound)
        return walk

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.lost is not None or self.step >= self.table.steps

    @torch.no_grad()
    def advance(self, energy: Energy, generator: torch.Generator, bound: float) -> int:
        """Move the chains to the next stop and keep what is to be kept there; returns the steps made."""
        stop = next(stop for stop in self.table.stops if stop > self.step)
        steps = stop - self.step
        x, summary = samplers.run(self.kernel, energy, self.state, steps, generator)
        self.state, self.step = summary.state, stop
        self.acceptance += summary.acceptance * steps
        self.evaluations += summary.gradient_evaluations
        self.keep(energy, x, bound)
        return steps

    def keep(self, energy: Energy, x: Tensor, bound: float) -> None:
        """Take down what chains at ``x`` (n, *event) are to be remembered by, unless they are lost."""
        values = energy(x) if self.state.energy is None else self.state.energy
        if gone := int((~(values.abs() <= bound) | ~x.flatten(1).isfinite().all(1)).sum()):
            self.lost = f"{gone} of {len(x)} have an energy that is not finite or beyond the bound {bound:.4g} at step {self.step}"
            return
        self.energies.append(values.float().cpu())
        if self.table.is_draw(self.step):
            self.draws.append(x.float().cpu())
        if self.step in self.table.frames:
            self.frames.append(x.float().cpu())

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        kept = {"x": self.state.x, "energy": self.state.energy, "gradient": self.state.gradient}
        lists = {"energies": self.energies, "draws": self.draws, "frames": self.frames}
        found = {name: value for name, value in kept.items() if value is not None}
        return found | {name: torch.stack(values) for name, values in lists.items() if values}

    def numbers(self) -> dict[str, Any]:
        """And what else, as JSON."""
        return {
            "step_size": self.kernel.step_size,
            "step": self.step,
            "acceptance": self.acceptance,
            "evaluations": self.evaluations,
            "lost": self.lost,
        }

    @classmethod
    def resumed(cls, kernel: Kernel, table: Timetable, tensors: dict[str, Tensor], numbers: dict[str, Any], device: str) -> Walk:
        """The walk that gave `tensors` and `numbers`."""
        x, energy, gradient = (tensors[name].to(device) if name in tensors else None for name in ("x", "energy", "gradient"))
        assert x is not None
        lists = {name: list(tensors[name]) if name in tensors else [] for name in ("energies", "draws", "frames")}
        return cls(
            kernel.with_step_size(numbers["step_size"]),
            table,
            State(x, energy, gradient),
            numbers["step"],
            numbers["acceptance"],
            numbers["evaluations"],
            lists["energies"],
            lists["draws"],
            lists["frames"],
            numbers["lost"],
        )


def energy_stops(walk: Walk) -> Sequence[int]:
    """The steps at which a walk noted energies."""
    return walk.table.stops[: len(walk.energies)]
