"""Annealed importance sampling, forward and back, and sequential Monte Carlo, which is the former with resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebmpipe.partition.bridge import Bridge, Point
from ebmpipe.partition.estimates import Estimate, combined, effective, log_mean_exp
from ebmpipe.partition.ladder import Ladder
from ebmpipe.samplers.base import Kernel


def cost_of_level(kernel: Kernel) -> int:
    """Gradients of E₁ per chain and level: those of the transition, and one where it led, which serves weight and next start alike."""
    return kernel.gradients_per_step + 1


def increment(point: Point, from_: float, to: float) -> Tensor:
    """log of exp(-E_to + E_from) at the positions, (n,) float64."""
    change: Tensor = (from_ - to) * point.excess
    return change


@torch.no_grad()
def forward(
    bridge: Bridge,
    ladder: Ladder,
    kernel: Kernel,
    repeats: int,
    n: int,
    generator: torch.Generator,
    resample_below: float = 0.0,
) -> tuple[Estimate, Tensor]:
    """log Z by annealed importance sampling from the base (Neal 2001), or by sequential Monte Carlo (Del Moral, Doucet & Jasra 2006).

    Weights w = Π_t exp(-(β_t - β_{t-1}) (E₁ - E₀)(x_{t-1})) have mean Z whatever ladder and kernels are, so that log mean w is too low on
    average: a stochastic lower bound. With ``resample_below`` > 0 the chains of a repeat are resampled (systematically, in
    proportion to their weights) whenever fewer than that share of them is effective; what the weights came to by then is banked, and
    the product of the banked means is unbiased for Z too.

    Args:
        bridge: the path.
        ladder: its levels β_0 = 0 < … < β_T = 1 and the step size at each, fixed beforehand.
        kernel: an adjusted, reversible kernel; its step size is replaced by the ladder's.
        repeats: independent estimates.
        n: chains of each.
        generator: the source of all randomness.
        resample_below: share of effective chains below which they are resampled; 0: never, which is annealed importance sampling.

    Returns:
        The estimate, and the chains at β_{T-1} with their last weights turned into numbers: resampled positions (repeats · n, *event).
    """
    point = bridge.point(bridge.base.sample(repeats * n, generator))
    banked = point.excess.new_zeros(repeats)
    weights = point.excess.new_zeros(repeats, n)
    accepted, levels = 0.0, ladder.levels
    for level in range(1, levels + 1):
        weights = weights + increment(point, ladder.betas[level - 1], ladder.betas[level]).view(repeats, n)
        poor = effective(weights) < resample_below
        if level < levels and bool(poor.any()):
            banked = torch.where(poor, banked + log_mean_exp(weights), banked)
            point = point.rows(resampled(weights, poor, generator))
            weights = torch.where(poor[:, None], 0.0, weights)
        if level < levels:
            point, acceptance = bridge.move(point, ladder.betas[level], kernel.with_step_size(ladder.step_size(level)), generator)
            accepted += acceptance
    cost = repeats * n * (1 + (levels - 1) * cost_of_level(kernel))
    estimate = combined(banked, weights, 1, cost, accepted / max(levels - 1, 1))
    every = torch.ones(repeats, dtype=torch.bool, device=weights.device)
    return estimate, folded(bridge, point.x[resampled(weights, every, generator)])


@torch.no_grad()
def backward(bridge: Bridge, ladder: Ladder, kernel: Kernel, x: Tensor, repeats: int, generator: torch.Generator) -> Estimate:
    """log Z by annealed importance sampling from samples of the model back to the base (Grosse, Ghahramani & Adams 2015).

    Weights Π_t exp((β_t - β_{t-1}) (E₁ - E₀)(x_{t-1})) along chains that begin with x_{T-1} ~ exp(-E₁)/Z and visit the levels from high to
    low have mean 1/Z, so that minus their log mean is too high on average: a stochastic upper bound, if, and only if, the samples are
    exact. From others it is merely where the way back leads.

    Args:
        bridge: the path.
        ladder: as in `forward`.
        kernel: likewise.
        x: samples of the model, (repeats · n, *event), equally many for each repeat.
        repeats: independent estimates.
        generator: the source of all randomness.

    Raises:
        ValueError: if the samples cannot be shared out.
    """
    if len(x) % repeats or not len(x):
        raise ValueError(f"{len(x)} samples cannot be shared out among {repeats} repeats")
    point = bridge.point(x)
    weights = point.excess.new_zeros(len(x))
    accepted, levels = 0.0, ladder.levels
    for level in range(levels, 0, -1):
        weights = weights + increment(point, ladder.betas[level], ladder.betas[level - 1])
        if level > 1:
            point, acceptance = bridge.move(point, ladder.betas[level - 1], kernel.with_step_size(ladder.step_size(level - 1)), generator)
            accepted += acceptance
    cost = len(x) * (1 + (levels - 1) * cost_of_level(kernel))
    return combined(weights.new_zeros(repeats), weights.view(repeats, -1), -1, cost, accepted / max(levels - 1, 1))


def tried(bridge: Bridge, ladder: Ladder, kernel: Kernel, n: int, generator: torch.Generator, variance: float, most: int) -> Ladder:
    """``ladder`` with as many levels, at most ``most``, as a trial of ``n`` chains says that the ``variance`` of log w asked for takes.

    The thermodynamic length foresees the variance only of chains that forget all between two levels.
    """
    trial, _ = forward(bridge, ladder, kernel, 1, n, generator)
    # Of weights whose logarithms are normal, the effective share is exp(-variance). What is zero, no number of levels makes more.
    found = -math.log(max(trial.ess, 1 / n) / max(trial.alive, 1 / n))
    if found <= variance:
        return ladder
    return ladder.refined(min(math.ceil(ladder.levels * found / variance), most))


def resampled(log_weights: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
    """Rows that take the place of each, (repeats · n,), drawn systematically in proportion to the weights within a repeat.

    Args:
        log_weights: (repeats, n).
        which: the repeats that are resampled, (repeats,) bool; of the others every row stays.
        generator: the source of randomness: one number for each repeat.
    """
    repeats, n = log_weights.shape
    u = torch.rand(repeats, 1, generator=generator, device=log_weights.device, dtype=log_weights.dtype)
    ticks = (torch.arange(n, device=log_weights.device) + u) / n
    shares = torch.softmax(log_weights, 1).cumsum(1)
    chosen = torch.searchsorted(shares / shares[:, -1:], ticks).clamp(max=n - 1)
    own = torch.arange(n, device=log_weights.device).expand(repeats, n)
    rows = torch.where(which[:, None], chosen, own) + n * torch.arange(repeats, device=log_weights.device)[:, None]
    return rows.flatten()


def folded(bridge: Bridge, x: Tensor) -> Tensor:
    """Positions as they are seen: on a box, inside of it."""
    return bridge.box.fold(x) if bridge.box else x
