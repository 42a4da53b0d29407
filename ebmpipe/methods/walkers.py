"""Weighted walkers that follow a changing energy: sequential Monte Carlo with the work of Jarzynski's equality as log-weight."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ebmpipe.energies import CHUNK, Energy, value_and_gradient
from ebmpipe.optimisation import Diverged
from ebmpipe.samplers import Kernel, Summary, run
from ebmpipe.samplers.base import State
from ebmpipe.samplers.reflection import reflected


class Population(NamedTuple):
    """Walkers X with log-weights A and what is remembered of the energy E that they have reached.

    With N walkers, E_p[f] = Σ f(X) e^A / Σ e^A for p ∝ exp(-E), and (1/N) Σ e^A estimates Z without bias, apart from what was banked.

    Attributes:
        x: positions, (n, *event).
        log_weights: A in nats, (n,) float64.
        energy: E at ``x``, (n,).
        gradient: ∇E at ``x``, (n, *event); None where the moves do not need it again.
    """

    x: Tensor
    log_weights: Tensor
    energy: Tensor
    gradient: Tensor | None

    def weights(self) -> Tensor:
        """Self-normalised, (n,) float64."""
        return self.log_weights.softmax(0)

    def chosen(self, slots: Tensor) -> Population:
        """The walkers at ``slots`` (m,), equally weighted."""
        gradient = None if self.gradient is None else self.gradient[slots]
        return Population(self.x[slots], torch.zeros_like(self.log_weights[slots]), self.energy[slots], gradient)


def effective_fraction(weights: Tensor) -> Tensor:
    """1 / (N Σ w²) of self-normalised weights (n,): 1 where all are equal, 1/N where one has everything."""
    return 1 / (len(weights) * weights.square().sum())


def systematic(weights: Tensor, offset: Tensor) -> Tensor:
    """Slots (n,) such that slot i is drawn n wᵢ times in expectation, and never a whole time more or less (Carpenter et al. 1999).

    Args:
        weights: self-normalised, (n,).
        offset: uniform on [0, 1), a scalar: all the randomness there is.
    """
    n = len(weights)
    ticks = (torch.arange(n, device=weights.device) + offset) / n
    return torch.searchsorted(weights.cumsum(0), ticks, right=True).clamp_(max=n - 1)


def langevin(energy: Energy, before: Population, step_size: float, steps: int, generator: torch.Generator) -> tuple[Population, Summary]:
    """Move walkers by ULA and add the work of every step, so that weights are exact for a step of any size.

    The law of a path X → X' forward is p_k(X) q_k(X'|X); backward, by the same kernel under the new energy, p_{k+1}(X') q_{k+1}(X|X').
    The logarithm of their ratio, without the Z's, is what A grows by. With h = ε²/2 (Carbone et al. 2023, eq. 14-16)

        A' = A - α_{k+1}(X', X) + α_k(X, X'),  α_k(x, y) = E_k(x) + ½ (y - x)·∇E_k(x) + (h/4) |∇E_k(x)|².

    Only the first step meets two energies: that which ``before`` remembers, and ``energy``. E and ∇E at X' serve the backward kernel
    of one step and the forward kernel of the next: a step costs one gradient, also where the energy changes.
    A walker that is thrown to where E is not finite stays where it was and loses its weight.

    Args:
        energy: the new energy.
        before: the walkers, with the old energy and gradient.
        step_size: ε, in data units.
        steps: steps of each walker.
        generator: the source of all randomness.
    """
    energy, box = reflected(energy)
    x, log_weights, value, slope = before
    assert slope is not None
    h, norm = step_size**2 / 2, torch.zeros((), device=x.device)
    for _ in range(steps):
        norm += torch.linalg.vector_norm(slope.flatten(1), dim=1).mean()
        z = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x_new = x - h * slope + step_size * z
        value_new, slope_new = value_and_gradient(energy, x_new)
        alive = value_new.isfinite() & slope_new.flatten(1).isfinite().all(1)
        g, g_new = (s.flatten(1).double() for s in (slope, slope_new))
        drift = (x_new - x).flatten(1).double()
        work = value.double() - value_new.double() + ((drift * (g + g_new)).sum(1) + h / 2 * (g.square() - g_new.square()).sum(1)) / 2
        log_weights = torch.where(alive, log_weights + work, -torch.inf)
        wide = alive.view(-1, *[1] * (x.dim() - 1))
        if box:  # the mirror image of a walker beyond a wall sees the mirror image of its gradient
            slope_new, x_new = slope_new * box.orientation(x_new), box.fold(x_new)
        x, slope, value = torch.where(wide, x_new, x), torch.where(wide, slope_new, slope), torch.where(alive, value_new, value)
    cost = steps * len(x)
    return Population(x, log_weights, value, slope), Summary(steps, cost, 1.0, 1.0, 0.0, float(norm) / steps, State(x))


def exactly(kernel: Kernel, energy: Energy, before: Population, steps: int, generator: torch.Generator) -> tuple[Population, Summary]:
    """Reweight walkers where they are, A' = A + E_k(X) - E_{k+1}(X), then move them by a kernel that leaves p_{k+1} as it is.

    That costs no further weight: Jarzynski's (1997) equality in its plain form, or annealed importance sampling (Neal 2001).

    Args:
        kernel: leaves p ∝ exp(-E) invariant for every E.
        energy: the new energy.
        before: the walkers, with the old energy.
        steps: steps of each walker.
        generator: the source of all randomness.
    """
    state = kernel.init(reflected(energy)[0], before.x)
    reached = energy(before.x) if state.energy is None else state.energy
    log_weights = torch.where(reached.isfinite(), before.log_weights + before.energy.double() - reached.double(), -torch.inf)
    x, summary = run(kernel, energy, state, steps, generator)
    value = energy(x) if summary.state.energy is None else summary.state.energy
    cost = summary.gradient_evaluations + len(x) * kernel.gradients_at_init
    return Population(x, log_weights, value, None), replace(summary, gradient_evaluations=cost)


class Stretch(NamedTuple):
    """Walkers between two resamplings, and what the stretches before have added up to.

    Attributes:
        population: the walkers.
        banked: log mean e^A of every stretch that ended in a resampling, added up: a scalar in nats, float64.
        variance: the squared standard error of ``banked``, a scalar, float64.
        resamplings: how many there were, a scalar, int64.
    """

    population: Population
    banked: Tensor
    variance: Tensor
    resamplings: Tensor

    def log_partition(self) -> tuple[Tensor, Tensor]:
        """log Z, in nats, and the square of its standard error.

        The error adds up what every stretch contributes, each as if its walkers were independent of the last one's when it began: it is
        too small where they mix more slowly than they are resampled.
        """
        log_weights = self.population.log_weights
        n = len(log_weights)
        fraction = effective_fraction(self.population.weights())
        return self.banked + log_weights.logsumexp(0) - math.log(n), self.variance + (1 / fraction - 1).clamp(min=0) / n

    def resampled(self, offset: Tensor) -> Stretch:
        """The beginning of the next stretch: as many walkers, equally weighted, with the same law and the same log Z."""
        log_z, variance = self.log_partition()
        slots = systematic(self.population.weights(), offset)
        return Stretch(self.population.chosen(slots), log_z, variance, self.resamplings + 1)


class Walkers(nn.Module):
    """Walkers that outlive an update.

    Args:
        x: where they start, (n, *event), drawn from ``law``.
        law: the energy of a normalised density, from which log Z is counted.
        threshold: they are resampled where their `effective_fraction` is below it.
        gradients: whether ∇E is remembered.
    """

    x: Tensor
    log_weights: Tensor
    energy: Tensor
    gradient: Tensor | None
    banked: Tensor
    variance: Tensor
    resamplings: Tensor

    def __init__(self, x: Tensor, law: Energy, threshold: float, gradients: bool) -> None:
        super().__init__()
        self.threshold = threshold
        energy, gradient = value_and_gradient(law, x)
        self.register_buffer("x", x)
        self.register_buffer("log_weights", torch.zeros(len(x), dtype=torch.float64))
        self.register_buffer("energy", energy)
        self.register_buffer("gradient", gradient if gradients else None)
        self.register_buffer("banked", torch.zeros((), dtype=torch.float64))
        self.register_buffer("variance", torch.zeros((), dtype=torch.float64))
        self.register_buffer("resamplings", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def stretch(self) -> Stretch:
        """The walkers as they are."""
        population = Population(self.x, self.log_weights, self.energy, self.gradient)
        return Stretch(population, self.banked, self.variance, self.resamplings)

    def after(self, moved: Population, generator: torch.Generator) -> tuple[Stretch, float]:
        """The walkers once they have moved, resampled where that is due, and the effective fraction before; nothing is written.

        A walker whose weight is zero, because it was thrown far away, is reason enough.

        Raises:
            Diverged: if no walker has a weight.
        """
        weights = moved.weights()
        fraction = float(effective_fraction(weights))
        if not math.isfinite(fraction):
            raise Diverged(f"no walker has a weight left: the largest log-weight is {float(moved.log_weights.max())}")
        stretch = self.stretch._replace(population=moved)
        if fraction >= self.threshold and bool((weights > 0).all()):
            return stretch, fraction
        return stretch.resampled(torch.rand((), generator=generator, device=moved.x.device, dtype=torch.float64)), fraction

    def reweighted(self, energy: Energy) -> Stretch:
        """The walkers where they are, weighted for ``energy`` in place of the one that they remember; nothing is written."""
        reached = torch.cat([energy(part) for part in self.x.split(CHUNK)])
        population = self.stretch.population
        log_weights = self.log_weights + self.energy.double() - reached.double()
        return self.stretch._replace(population=population._replace(log_weights=log_weights, energy=reached))

    def put_back(self, stretch: Stretch) -> None:
        """Write the walkers down."""
        self.x, self.log_weights, self.energy, self.gradient = stretch.population
        _, self.banked, self.variance, self.resamplings = stretch
