"""Draws from a conditional law, several chains for each observation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmpipe.config import RestorationConfig
from ebmpipe.energies import Energy
from ebmpipe.progress import Progress
from ebmpipe.samplers.adaptation import adapt
from ebmpipe.samplers.base import Kernel, run
from ebmpipe.samplers.hmc import HMC
from ebmpipe.samplers.mala import MALA


def kernel_of(config: RestorationConfig) -> Kernel:
    """The kernel that moves the chains."""
    return HMC(config.step_size, config.leapfrog_steps) if config.kernel == "hmc" else MALA(config.step_size)


def resampled(propose: Callable[[], tuple[Tensor, Tensor]], candidates: int, generator: torch.Generator) -> Tensor:
    """Where chains start: for each one of so many proposals, taken with probability proportional to its weight (Rubin 1987).

    As their number grows, the starts follow the law that the weights are for: modes have their share of chains, which short chains that
    cannot cross between them keep. In many dimensions it is merely a better start than one proposal.

    Args:
        propose: proposals (n, …), and the logarithms of their weights (n,) up to a constant of each row.
        candidates: how many of each.
        generator: the source of the choice.
    """
    x, log_weight = propose()
    best = gumbel(log_weight, generator)
    for _ in range(candidates - 1):
        other, log_weight = propose()
        key = gumbel(log_weight, generator)
        better = key > best
        best = torch.where(better, key, best)
        x = torch.where(better.view(-1, *[1] * (x.dim() - 1)), other, x)
    return x


def gumbel(log_weight: Tensor, generator: torch.Generator) -> Tensor:
    """Log-weights with standard Gumbel noise: the largest is one chosen in proportion to the weights. No number counts as weight zero."""
    u = torch.rand(log_weight.shape, generator=generator, device=log_weight.device, dtype=log_weight.dtype)
    return (log_weight - (-u.clamp_min(torch.finfo(u.dtype).tiny).log()).log()).nan_to_num(nan=-torch.inf, neginf=-torch.inf)


@dataclass(frozen=True)
class Draws:
    """Draws of m observations by c chains each.

    Attributes:
        draws: (d, c, m, *event), d draws of every chain, evenly spaced along the later half of it; empty unless they were to be kept.
        means: (c, m, *event), the mean of every chain's draws.
        last: (m, *event), the last draw of the first chain.
        acceptance: mean acceptance after the step size was found.
        gradient_evaluations: input gradients taken, over all chains; without those of ``finish``.
    """

    draws: Tensor
    means: Tensor
    last: Tensor
    acceptance: float
    gradient_evaluations: int


@torch.no_grad()
def posterior(
    energy: Energy,
    start: Tensor,
    config: RestorationConfig,
    generator: torch.Generator,
    finish: Callable[[Tensor], Tensor] = lambda x: x,
    kernel: Kernel | None = None,
    title: str = "restoration",
    keep: bool = False,
) -> Draws:
    """Sample a conditional law.

    An adjusted kernel's step size is found on the chains' first ``config.adaptation_steps`` steps; ``config.steps`` steps follow, of
    which the first half warms up.

    Args:
        energy: of the conditional law; wrap the module in `ebmpipe.energies.frozen`.
        start: positions (c m, …) where chains start: observation i modulo m.
        config: chains, steps, draws, kernel.
        generator: the source of all randomness.
        finish: makes of positions (c m, …) the events (c m, *event) that are kept, such as the denoising jump.
        kernel: what moves the chains in place of the one that ``config`` names.
        title: what progress is called.
        keep: whether every draw is kept.
    """
    kernel = kernel or kernel_of(config)
    chains, evaluations = config.chains, 0
    every = max(1, config.steps // (2 * config.draws))
    warm_up = max(1, config.steps - every * config.draws)
    kept: list[Tensor] = []
    with Progress(title, config.adaptation_steps + warm_up + every * config.draws) as progress:
        if config.adaptation_steps and kernel.adjusted:
            kernel, start, search = adapt(kernel, energy, start, config.adaptation_steps, generator)
            evaluations += search.gradient_evaluations
        progress.advance(count=config.adaptation_steps)
        x, total, acceptance, last = start, torch.zeros(()), 0.0, start
        state: Tensor | object = start
        lengths = [every] * (warm_up // every) + [warm_up % every] * (warm_up % every > 0)
        for index, length in enumerate([*lengths, *[every] * config.draws]):
            x, summary = run(kernel, energy, state, length, generator)  # type: ignore[arg-type]
            state, evaluations = summary.state, evaluations + summary.gradient_evaluations
            progress.advance(count=length)
            if index < len(lengths):
                continue
            acceptance += summary.acceptance / config.draws
            done = finish(x)
            last = done.view(chains, -1, *done.shape[1:])
            total = total + last / config.draws
            if keep:
                kept.append(last)
    return Draws(torch.stack(kept) if keep else last.new_empty(0), total, last[0], acceptance, evaluations)
