"""The levels of an annealing path and the step size at each, found on a pilot run and fixed before anything is estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ebmpipe.partition.estimates import effective

if TYPE_CHECKING:
    from ebmpipe.partition.bridge import Bridge, Point
    from ebmpipe.samplers.base import Kernel

#: The pilot's next level is where this share of its chains stays effective.
SHARE = 0.9
#: Transitions of the pilot at each level, each of which corrects the step size by the exponential of what its acceptance is off.
MOVES = 4
#: Most levels of the pilot: beyond it the path leads nowhere.
PILOT_LEVELS = 1000
#: Halvings of an interval in search of the next level.
HALVINGS = 50
#: Step sizes fall short of the one found by up to this share, unevenly from level to level: by multiples of the golden ratio.
UNEVEN, GOLDEN = 0.4, (math.sqrt(5) - 1) / 2
#: The step size stays within this factor of the kernel's own.
FACTOR = 1e4


class NoPath(ValueError):
    """Raised when no ladder leads from the base to the energy; the message says where it stopped."""


@dataclass(frozen=True)
class Ladder:
    """Levels β_0 = 0 < … < β_T = 1, and the step size of the kernel at each.

    Attributes:
        betas: (T + 1,).
        step_sizes: (T + 1,), in data units, of which `step_size` takes a share; the first is never used.
        length: thermodynamic length Λ of the path, the integral of the standard deviation of E₁ - E₀ under E_β over β, as the pilot saw
            it. With T levels at equal distances and chains that forget, log w of annealed importance sampling has variance Λ²/T.
        gradient_evaluations: input gradients that it took to find them.
    """

    betas: tuple[float, ...]
    step_sizes: tuple[float, ...]
    length: float
    gradient_evaluations: int = 0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.betas[:-1], self.betas[1:], strict=True))
        if len(self.betas) < 2 or self.betas[0] != 0 or self.betas[-1] != 1 or not rising:
            raise ValueError("a ladder must rise from 0 to 1")
        if len(self.step_sizes) != len(self.betas) or min(self.step_sizes) <= 0:
            raise ValueError("a ladder needs a positive step size for each of its levels")

    @property
    def levels(self) -> int:
        """T."""
        return len(self.betas) - 1

    def step_size(self, level: int) -> float:
        """ε at β_level, unevenly shorter than ``step_sizes`` says.

        Trajectories of one length return to where they came from wherever that is a period of the energy; of uneven ones, few do.
        """
        return self.step_sizes[level] * (1 - UNEVEN * (level * GOLDEN % 1))

    def refined(self, levels: int) -> Ladder:
        """The same path at another number of levels, spaced alike."""
        places, known = np.linspace(0, self.levels, levels + 1), np.arange(self.levels + 1)
        betas = np.interp(places, known, self.betas)
        kept = np.concatenate([[True], np.diff(betas) > 0])
        steps = np.exp(np.interp(places, known, np.log(self.step_sizes)))
        return replace(self, betas=tuple(betas[kept].tolist()), step_sizes=tuple(steps[kept].tolist()))


@torch.no_grad()
def adapted_ladder(
    bridge: Bridge, kernel: Kernel, n: int, generator: torch.Generator, variance: float = 0.1, levels: tuple[int, int] = (20, 2000)
) -> Ladder:
    """A ladder whose levels are equally far apart in thermodynamic length, as many as bring the variance of log w to ``variance``.

    The pilot is sequential Monte Carlo whose next level is the one at which a fixed share of the weights stays effective (Zhou, Johansen
    & Aston 2016, eq. 17), and whose step size follows the kernel's target acceptance. Nothing of the pilot enters an estimate: levels and
    step sizes that depend on the chains they move would bias it.

    Args:
        bridge: the path.
        kernel: an adjusted kernel; its step size is where the search starts.
        n: chains of the pilot.
        generator: the source of randomness.
        variance: of log w that is aimed at, in nats².
        levels: fewest and most.

    Raises:
        NoPath: if the energy is not finite where the base puts chains, or the pilot does not come to β = 1.
    """
    point = bridge.point(bridge.base.sample(n, generator))
    weights, cost, target = point.excess.new_zeros(n), n, kernel.target_acceptance or 0.6
    low, high = math.log(kernel.step_size / FACTOR), math.log(kernel.step_size * FACTOR)
    betas, speeds, log_steps, log_step = [0.0], [spread(point.excess, weights)], [], math.log(kernel.step_size)
    while betas[-1] < 1:
        check_finite(point, betas[-1])
        if len(betas) > PILOT_LEVELS:
            raise NoPath(f"annealing came no further than β = {betas[-1]:.3g} in {PILOT_LEVELS} levels")
        beta = next_level(point.excess, weights, betas[-1])
        weights = weights + (betas[-1] - beta) * point.excess
        betas.append(beta)
        if effective(weights) < 0.5:
            point = point.rows(torch.multinomial(torch.softmax(weights, 0), n, replacement=True, generator=generator))
            weights = torch.zeros_like(weights)
        for _ in range(MOVES):
            point, acceptance = bridge.move(point, beta, kernel.with_step_size(math.exp(log_step)), generator)
            log_step = min(max(log_step + acceptance - target, low), high)
        cost += n * MOVES * (kernel.gradients_per_step + 1)
        log_steps.append(log_step)
        speeds.append(spread(point.excess, weights))
    # The trapezoidal rule over β.
    pieces = np.diff(betas) * (np.array(speeds[:-1]) + np.array(speeds[1:])) / 2
    return evenly_spaced(
        np.array(betas), np.concatenate([[0.0], pieces.cumsum()]), np.array([log_steps[0], *log_steps]), variance, levels, cost
    )


def evenly_spaced(
    betas: np.ndarray, distances: np.ndarray, log_steps: np.ndarray, variance: float, levels: tuple[int, int], cost: int
) -> Ladder:
    """The ladder at equal distances along a pilot's path, as long as `adapted_ladder` says."""
    length = float(distances[-1])
    count = min(max(math.ceil(length**2 / variance), levels[0]), levels[1])
    even = np.linspace(0, length, count + 1)
    fine = np.interp(even, distances, betas) if length > 0 else np.linspace(0, 1, count + 1)
    fine[0], fine[-1] = 0.0, 1.0
    kept = np.concatenate([[True], np.diff(fine) > 0])
    # Three neighbours' mean: a single step size is the outcome of a few noisy acceptances.
    padded = np.pad(log_steps, 1, mode="edge")
    steps = np.exp(np.interp(even, distances, (padded[:-2] + padded[1:-1] + padded[2:]) / 3))
    return Ladder(tuple(fine[kept].tolist()), tuple(steps[kept].tolist()), length, cost)


def next_level(excess: Tensor, weights: Tensor, beta: float) -> float:
    """The β, at most 1, at which the increments leave `SHARE` of the weighted chains effective (Zhou, Johansen & Aston 2016, eq. 17).

    Chains where the density is zero are lost at any β > 0, however small: it is the others that are counted.
    """
    alive = excess < math.inf
    if not alive.any():
        raise NoPath("the density is zero wherever the base puts chains")
    shares, excess = torch.log_softmax(weights[alive], 0), excess[alive]

    def conditional(to: float) -> float:
        change = (beta - to) * excess
        return float((2 * torch.logsumexp(shares + change, 0) - torch.logsumexp(shares + 2 * change, 0)).exp())

    if conditional(1.0) >= SHARE:
        return 1.0
    low, high = beta, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if conditional(middle) >= SHARE else (low, middle)
    if not low > beta:
        raise NoPath(
            f"at β = {beta:.3g} the smallest step leaves less than {SHARE:.0%} of the weights: the energy is too rough for its base"
        )
    return low


def spread(excess: Tensor, weights: Tensor) -> float:
    """Weighted standard deviation of E₁ - E₀ over chains that are not lost."""
    kept = (weights > -math.inf) & (excess < math.inf)
    shares, values = torch.softmax(weights[kept], 0), excess[kept]
    mean = (shares * values).sum()
    return float((shares * (values - mean).square()).sum().sqrt())


def check_finite(point: Point, beta: float) -> None:
    """Refuse energies that are no numbers; +inf is a density of zero.

    Raises:
        NoPath: if there are any.
    """
    lost = int((point.excess.isnan() | (point.excess == -math.inf)).sum())
    if lost:
        raise NoPath(f"the energy is not finite at {lost} of {len(point.x)} chains at β = {beta:.3g}")
