"""Contrastive divergence without its bias, by coupled chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energies import Energy, frozen
from ebmpipe.methods.base import ByKind, Reference, Setup
from ebmpipe.methods.contrastive import Contrastive, ContrastiveConfig, Negatives
from ebmpipe.samplers import MALA, Summary
from ebmpipe.samplers.coupling import Pairs, coupled_mala, folded
from ebmpipe.samplers.reflection import reflected


class UnbiasedCDConfig(ContrastiveConfig):
    """Settings of `UnbiasedCD`."""

    batch_size: int = Field(64, ge=1, description="examples per update, few: many noisy updates did better than few less noisy ones")
    steps: int = Field(10, ge=1, description="k, steps of each chain before the estimator begins")
    lag: int = Field(20, ge=1, description="L, steps by which the first chain of a pair is ahead of the second")
    max_steps: int = Field(50, ge=1, description="steps after which pairs that have not met are cut off")


@dataclass(frozen=True, kw_only=True)
class Telescoped(Negatives):
    """Positions of coupled chains, whose weighted sum of any h is an estimate of E_p[h].

    Attributes:
        owners: which pair each position is from, (m,).
        times: when each pair met, (n,); one more than the longest time allowed if it did not.
    """

    weights: Tensor
    owners: Tensor
    times: Tensor


@torch.no_grad()
def telescoped(
    kernel: MALA, energy: Energy, start: Tensor, burn_in: int, lag: int, max_steps: int, generator: torch.Generator
) -> Telescoped:
    """Estimates of expectations under p by coupled chains (Jacob, O'Leary & Atchadé 2020, §2; with a lag Biswas, Jacob & Vanetti 2019).

    For each example a chain X and a chain Y start there, X makes L steps, and from then on the pair (X_t, Y_{t-L}) moves as
    `coupled_mala` does until both are equal, at t = τ. As X_t and Y_t have one law, and as that law tends to p,

        H_k = h(X_k) + Σ_{j ≥ 1, k + jL < τ} [h(X_{k+jL}) - h(Y_{k+(j-1)L})]

    has the expectation E_p[h] for every k and L. Of pairs cut off at T steps the sum stops there: then its expectation is that of plain
    MCMC, E[h(X_t)], at the last t = k + jL ≤ T.

    Args:
        kernel: what moves every chain.
        energy: E, (n, *event) -> (n,).
        start: where the pairs start, (n, *event), by any law.
        burn_in: k, at least 1.
        lag: L, at least 1.
        max_steps: T, at least k and L.
        generator: the source of all randomness.

    Returns:
        The positions in these sums, with weights that sum to 1 over all pairs.
    """
    n = len(start)
    energy, box = reflected(energy)
    x = y = kernel.init(energy, start)
    evaluations, moves, totals = n, 0, start.new_zeros(2)
    active = torch.arange(n, device=start.device)
    times = torch.full_like(active, max_steps + 1)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def keep(chains: Tensor, which: Tensor, weight: float) -> None:
        kept.append((chains[which], start.new_full((int(which.sum()),), weight), active[which]))

    # Until X is ahead by the lag, no pair can meet.
    apart, pairs = torch.ones_like(active, dtype=torch.bool), None
    for time in range(1, max_steps + 1):
        if pairs is None:
            x, info = kernel.step(energy, x, generator)
            x = folded(x, box) if box else x
            pairs = Pairs.of(x, y) if time == lag else None
        else:
            pairs, info = coupled_mala(energy, pairs, kernel.step_size, generator)
            x, y, _ = pairs = pairs.inside(box)
        evaluations += len(active) if info.evaluations is None else info.evaluations
        assert info.gradient is not None
        norms = torch.linalg.vector_norm(info.gradient.flatten(1), dim=1)
        moves, totals = moves + len(active), totals + torch.stack([info.accept_prob.sum(), norms.sum()])
        if pairs is not None:
            apart = ~pairs.met
            times[active[pairs.met]] = times[active[pairs.met]].clamp(max=time)
        if time == burn_in:
            keep(x.x, torch.ones_like(apart), 1 / n)
        elif time > burn_in and (time - burn_in) % lag == 0:
            keep(x.x, apart, 1 / n)
            keep(y.x, apart, -1 / n)
        if time >= burn_in and pairs is not None:
            # One chain is all that is left of a pair that has met, and what it adds from here on is zero.
            active, pairs = active[apart], pairs.only(apart)
            if not len(active):
                break
    positions, weights, owners = (torch.cat(parts) for parts in zip(*kept, strict=True))
    acceptance, norm = (totals / moves).tolist()
    summary = Summary(time, evaluations, acceptance, kernel.temperature, clipped=0.0, gradient_norm=norm, state=x)
    return Telescoped(positions, summary, weights=weights, owners=owners, times=times)


class UnbiasedCD(Contrastive):
    """Contrastive divergence from data whose negative phase has the expectation of an infinitely long chain.

    What k steps leave out is made up by a telescoping sum over chains that meet (Qiu, Zhang & Wang 2020), at a random cost. The authors'
    lag of one makes a pair that parts for τ steps count τ times, and such pairs are then most of the variance; a lag of L divides their
    weight by L. Diagnostics are the ``meeting_time``, its 95 % quantile and its maximum over the pairs of an update, with those cut off
    counted as ``max_steps`` + 1, and ``unmet``, their fraction: where it is above 0 the update has the bias of CD of that many steps.
    """

    name = "unbiased_cd"
    revision = 1
    title = "Unbiased CD"
    references = (
        Reference(
            "Y. Qiu, L. Zhang, X. Wang",
            "Unbiased contrastive divergence algorithm for training energy-based latent variable models",
            2020,
        ),
        Reference("P. E. Jacob, J. O'Leary, Y. F. Atchadé", "Unbiased Markov chain Monte Carlo with couplings", 2020, "1708.03625"),
        Reference("N. Biswas, P. E. Jacob, P. Vanetti", "Estimating convergence of Markov chains with L-lag couplings", 2019, "1905.09971"),
    )
    Config = UnbiasedCDConfig
    config: UnbiasedCDConfig
    settings_by_kind: ClassVar[ByKind] = {
        "images": {
            "batch_size": 32,
            "data_noise": 0.3,
            "lag": 10,
            "max_steps": 200,
            "kernel": {"name": "mala", "settings": {"step_size": 0.25}},
        }
    }
    meetings: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        config = self.config
        if not isinstance(self.kernel, MALA):
            raise ValueError(f"{self.name} couples chains of MALA, no others: set its kernel to mala, not {config.kernel.name}")
        if config.max_steps < max(config.steps, config.lag):
            raise ValueError(f"{self.name} needs max_steps of at least its steps and its lag: {config.max_steps} is less")
        self.register_buffer("meetings", torch.zeros(config.max_steps.bit_length() + 1, dtype=torch.int64))

    @property
    def gradient_evaluations_per_step(self) -> int:
        """The least: that of pairs which meet as soon as they can. Then data and the ends of the chains once."""
        return self.config.batch_size * (self.kernel.cost(max(self.config.steps, self.config.lag)) + 2)

    @property
    def random_cost(self) -> bool:
        return True

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Telescoped:
        config = self.config
        assert isinstance(self.kernel, MALA)
        with frozen(self.live):
            return telescoped(self.kernel, self.live, batch, config.steps, config.lag, config.max_steps, generator)

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        assert isinstance(negatives, Telescoped)
        bins, unmet = len(self.meetings), negatives.times > self.config.max_steps
        # Times from 2^i to 2^(i+1) - 1 share bin i; the last bin is for pairs that were cut off.
        self.meetings += torch.bincount(negatives.times.log2().long().masked_fill(unmet, bins - 1), minlength=bins)
        times = negatives.times.float()
        return {
            "meeting_time": times.mean(),
            "meeting_time_95": times.quantile(0.95),
            "meeting_time_max": times.max(),
            "unmet": unmet.float().mean(),
        }

    def statistics(self) -> dict[str, Any]:
        """How many pairs of the whole training met within which range of steps, first and last, and how many were cut off."""
        *met, unmet = self.meetings.tolist()
        last = self.config.max_steps
        times = [{"first": 2**i, "last": min(2 ** (i + 1) - 1, last), "pairs": pairs} for i, pairs in enumerate(met)]
        return {"meeting_times": times, "unmet": unmet}
