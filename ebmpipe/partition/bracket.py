"""All that is known of one energy's log Z: a ladder, then every estimate on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmpipe.config import PartitionConfig
from ebmpipe.energies import Energy, Law
from ebmpipe.partition.annealing import backward, forward, tried
from ebmpipe.partition.bridge import Bridge
from ebmpipe.partition.estimates import Estimate, importance
from ebmpipe.partition.ladder import Ladder, NoPath, adapted_ladder
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
        levels: of the ladder; 0 where the energy is the base's own and none is needed.
        exact: whether the samples are exact, so that the upper end is a bound.
        base: the law that annealing begins at, in words.
        widest: bits per dimension between the ends from which on likelihoods are intervals.
        starts: where the way back began, in words.
    """

    forward: Estimate
    backward: Estimate
    smc: Estimate
    importance: Estimate
    levels: int
    exact: bool
    base: str
    widest: float
    starts: str = "samples of the model"

    @classmethod
    def of_itself(cls, base: str, config: PartitionConfig) -> Bracket:
        """That of an energy which is minus the logarithm of a normalised law: log Z = 0, and nothing to estimate."""
        zero = Estimate(0.0, 0.0, 1.0, (0.0,) * config.repeats, 0)
        return cls(zero, zero, zero, zero, 0, True, base, config.widest)

    @property
    def lower(self) -> float:
        """The forward estimate less two standard errors."""
        return self.forward.log_z - ERRORS * self.forward.stderr

    @property
    def upper(self) -> float:
        """The backward estimate and two standard errors."""
        return self.backward.log_z + ERRORS * self.backward.stderr

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the greatest log Z within two standard errors of either estimate, however they lie to each other.

        Where the ends have crossed, which shows that the samples are not the model's, the gap between them vouches for nothing: the forward
        estimate is too low on average, so that what lies below it cannot be the pessimistic end.
        """
        ends = [each.log_z + sign * ERRORS * each.stderr for each in (self.forward, self.backward) for sign in (-1, 1)]
        return min(ends), max(ends)

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Every estimate by name."""
        return {"forward": self.forward, "backward": self.backward, "smc": self.smc, "importance": self.importance}


def transition(config: PartitionConfig) -> Kernel:
    """The kernel that moves chains at every level."""
    return HMC(config.step_size, config.leapfrog_steps) if config.kernel == "hmc" else MALA(config.step_size)


def shortest(bases: Mapping[str, Law], energy: Energy, config: PartitionConfig, generator: torch.Generator) -> tuple[str, Bridge, Ladder]:
    """The base from which the path to ``energy`` is shortest in thermodynamic length, with path and ladder.

    Raises:
        NoPath: if there is no path from any.
        ValueError: if none lives on the energy's support.
    """
    kernel, limits = transition(config), (config.fewest_levels, config.most_levels)
    found: list[tuple[str, Bridge, Ladder]] = []
    refused: list[str] = []
    for name, base in bases.items():
        try:
            bridge = Bridge(base, energy)
            found.append((name, bridge, adapted_ladder(bridge, kernel, config.pilot_chains, generator, config.variance, limits)))
        except ValueError as reason:
            refused.append(f"from {name}: {reason}")
    if not found:
        raise NoPath("; ".join(refused) or "there is no base to anneal from")
    return min(found, key=lambda each: each[2].length)


def drawn(samples: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` of the samples in random order, none twice before every other was taken once."""
    rounds = -(-n // len(samples))
    order = torch.cat([torch.randperm(len(samples), generator=generator, device=generator.device) for _ in range(rounds)])
    return samples[order[:n]]


@torch.no_grad()
def bracket(
    bases: Mapping[str, Law],
    energy: Energy,
    samples: Tensor | None,
    config: PartitionConfig,
    generator: torch.Generator,
    exact: bool = False,
) -> Bracket:
    """Bracket log Z of ``energy``; of one that is itself among the bases it is 0.

    Args:
        bases: normalised laws by what they are called; annealing begins at that with the shortest path.
        energy: E, (n, *event) -> (n,); wrap its module in `ebmpipe.energies.frozen`.
        samples: of the model, (m, *event); as many as needed are drawn from them, each anew where they are too few, and moved on by
            ``config.warm_up`` transitions. None: the way back starts where the way there ended, and confirms less.
        config: chains, levels, transitions.
        generator: the source of all randomness.
        exact: whether the samples are exact; transitions keep them so.

    Raises:
        NoPath: if no ladder leads from any base to the energy; it says why.
    """
    for name, base in bases.items():
        if base is energy:
            return Bracket.of_itself(name, config)
    kernel, repeats, n = transition(config), config.repeats, config.chains
    name, bridge, ladder = shortest(bases, energy, config, generator)
    ladder = tried(bridge, ladder, kernel, config.pilot_chains, generator, config.variance, config.most_levels)
    there, ends = forward(bridge, ladder, kernel, repeats, n, generator)
    smc, _ = forward(bridge, ladder, kernel, repeats, n, generator, config.resample_below)
    plain = importance(bridge.base, energy, repeats, n, generator)
    starts = ends if samples is None else drawn(samples, repeats * n, generator)
    starts, _ = run(kernel.with_step_size(ladder.step_size(ladder.levels)), energy, starts, config.warm_up, generator)
    back = backward(bridge, ladder, kernel, starts, repeats, generator)
    begun = "where the way there ended" if samples is None else "samples of the model"
    return Bracket(there, back, smc, plain, ladder.levels, exact, name, config.widest, begun)
