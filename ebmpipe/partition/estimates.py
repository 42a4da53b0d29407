"""From weights to log Z: the estimate, its standard error, and how many of the weights count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmpipe.energies import Energy, Law


@dataclass(frozen=True)
class Estimate:
    """log Z and what it is known by.

    Attributes:
        log_z: in nats.
        stderr: its standard error, over repeats.
        ess: effective sample size of the weights as a fraction of their number, (Σw)²/(n Σw²), all repeats together.
        repeats: log Z of each repeat.
        gradient_evaluations: input gradients that it took.
        acceptance: mean acceptance of the transitions; None where there are none.
        alive: share of the weights that are not zero.
    """

    log_z: float
    stderr: float
    ess: float
    repeats: tuple[float, ...]
    gradient_evaluations: int
    acceptance: float | None = None
    alive: float = 1.0


def log_mean_exp(values: Tensor) -> Tensor:
    """log of the mean of exp(values) over the last axis."""
    return torch.logsumexp(values, -1) - math.log(values.shape[-1])


def effective(log_weights: Tensor) -> Tensor:
    """(Σw)²/(n Σw²) over the last axis, in [1/n, 1]: Kong's effective sample size as a fraction. 0 where every weight is."""
    log_ess = 2 * torch.logsumexp(log_weights, -1) - torch.logsumexp(2 * log_weights, -1) - math.log(log_weights.shape[-1])
    return log_ess.exp().nan_to_num(0.0)


def pooled(each: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of a mean, and its standard error, from the logarithms of independent estimates of it.

    It is the mean of the estimates that is unbiased, not that of their logarithms. The standard error is that of their mean relative to it
    (delta method).

    Args:
        each: (…, repeats).

    Returns:
        Both (…,).
    """
    whole = log_mean_exp(each)
    if each.shape[-1] == 1:
        return whole, torch.full_like(whole, math.inf)  # one estimate tells nothing of its error
    return whole, (each - whole[..., None]).exp().std(-1) / math.sqrt(each.shape[-1])


def combined(banked: Tensor, log_weights: Tensor, sign: int, cost: int, acceptance: float | None) -> Estimate:
    """The estimate of weights whose mean is Z, or with ``sign`` -1 its inverse.

    Args:
        banked: what each repeat's weights were divided by so far, in logarithms, (repeats,).
        log_weights: (repeats, n).
        sign: 1, or -1 for weights of the way back.
        cost: input gradients taken.
        acceptance: of the transitions.
    """
    each = banked + log_mean_exp(log_weights)
    whole, error = pooled(each)
    ess = float(effective((banked[:, None] + log_weights).flatten()))
    alive = float((log_weights > -math.inf).double().mean())
    return Estimate(sign * float(whole), float(error), ess, tuple((sign * each).tolist()), cost, acceptance, alive)


@torch.no_grad()
def importance(base: Law, energy: Energy, repeats: int, n: int, generator: torch.Generator) -> Estimate:
    """log Z by importance sampling from the law that the energy tilts: the mean of exp(-E(x)) / q(x) over ``repeats`` × ``n`` draws of q.

    Unbiased in Z for any base that covers the energy's support; useful only where few of its draws carry most of the weight, which
    `Estimate.ess` tells.
    """
    x = base.sample(repeats * n, generator)
    log_weights = torch.cat([base(part).double() - energy(part).double() for part in x.split(4096)])
    return combined(x.new_zeros(repeats, dtype=torch.float64), log_weights.view(repeats, n), 1, 0, None)
