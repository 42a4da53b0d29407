"""All that is known of one energy's log Z: a ladder, then every estimate on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmpipe.config import PartitionConfig
from ebmpipe.energies import Energy, Law
from ebmpipe.partition.annealing import backward, forward
from ebmpipe.partition.bridge import Bridge
from ebmpipe.partition.estimates import Estimate, importance
from ebmpipe.partition.ladder import Ladder, adapted_ladder
from ebmpipe.samplers.base import Kernel, run
from ebmpipe.samplers.hmc import HMC
from ebmpipe.samplers.mala import MALA

#: Standard errors between an estimate and its end of the bracket.
ERRORS = 2.0


@dataclass(frozen=True)
class Bracket:
    """log Z from both sides, in nats, never sorted.

    Attributes:
        forward: annealed importance sampling from the base: too low on average.
        backward: from samples of the model: too high on average if they are exact.
        smc: sequential Monte Carlo on the same ladder.
        importance: plain importance sampling from the base.
        levels: of the ladder.
        exact: whether the samples are exact, so that the upper end is a bound.
        base: the law that annealing begins at, in words.
        widest: bits per dimension between the ends from which on likelihoods are intervals.
    """

    forward: Estimate
    backward: Estimate
    smc: Estimate
    importance: Estimate
    levels: int
    exact: bool
    base: str
    widest: float

    @property
    def lower(self) -> float:
        """The forward estimate less two standard errors."""
        return self.forward.log_z - ERRORS * self.forward.stderr

    @property
    def upper(self) -> float:
        """The backward estimate and two standard errors."""
        return self.backward.log_z + ERRORS * self.backward.stderr

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Every estimate by name."""
        return {"forward": self.forward, "backward": self.backward, "smc": self.smc, "importance": self.importance}


def transition(config: PartitionConfig) -> Kernel:
    """The kernel that moves chains at every level."""
    return HMC(config.step_size, config.leapfrog_steps) if config.kernel == "hmc" else MALA(config.step_size)


def fitted_ladder(bridge: Bridge, config: PartitionConfig, generator: torch.Generator) -> Ladder:
    """A ladder on which log w has the variance asked for, by one trial: what chains remember costs levels that no theory foresees."""
    kernel, limits = transition(config), (config.fewest_levels, config.most_levels)
    ladder = adapted_ladder(bridge, kernel, config.pilot_chains, generator, config.variance, limits)
    trial, _ = forward(bridge, ladder, kernel, 1, config.pilot_chains, generator)
    # Of weights whose logarithms are normal, the effective share is exp(-variance).
    found = -math.log(max(trial.ess, 1 / config.pilot_chains))
    if found <= config.variance:
        return ladder
    return ladder.refined(min(math.ceil(ladder.levels * found / config.variance), config.most_levels))


def drawn(samples: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` of the samples in random order, none twice before every other was taken once."""
    rounds = -(-n // len(samples))
    order = torch.cat([torch.randperm(len(samples), generator=generator, device=generator.device) for _ in range(rounds)])
    return samples[order[:n]]


@torch.no_grad()
def bracket(
    base: Law, energy: Energy, samples: Tensor, config: PartitionConfig, generator: torch.Generator, exact: bool = False, name: str = ""
) -> Bracket:
    """Bracket log Z of ``energy``.

    Args:
        base: normalised law on the same support.
        energy: E, (n, *event) -> (n,); wrap its module in `ebmpipe.energies.frozen`.
        samples: of the model, (m, *event); as many as needed are drawn from them, each anew where they are too few, and moved on by
            ``config.warm_up`` transitions.
        config: chains, levels, transitions.
        generator: the source of all randomness.
        exact: whether the samples are exact; transitions keep them so.
        name: the base, in words.

    Raises:
        NoPath: if no ladder leads from the base to the energy.
        ValueError: if base and energy have different supports.
    """
    kernel, repeats, n = transition(config), config.repeats, config.chains
    bridge = Bridge(base, energy)
    ladder = fitted_ladder(bridge, config, generator)
    there, _ = forward(bridge, ladder, kernel, repeats, n, generator)
    smc, _ = forward(bridge, ladder, kernel, repeats, n, generator, config.resample_below)
    starts, _ = run(
        kernel.with_step_size(ladder.step_size(ladder.levels)), energy, drawn(samples, repeats * n, generator), config.warm_up, generator
    )
    back = backward(bridge, ladder, kernel, starts, repeats, generator)
    return Bracket(there, back, smc, importance(base, energy, repeats, n, generator), ladder.levels, exact, name, config.widest)
