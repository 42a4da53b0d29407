"""What metrics ask of an energy beyond its values: its score, its class probabilities, and its log Z by annealing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch

from ebmpipe.config import PartitionConfig
from ebmpipe.energies import Law, frozen, gradient
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.partition.bracket import Bracket, bracket
from ebmpipe.scored import Scored
from ebmpipe.seeding import torch_generator
from ebmpipe.transported_law import TransportedLaw

#: Points per call of a gradient.
CHUNK = 4096
#: Sample sources that a way back may start at, best first: those that follow the energy's law, before any denoising jump.
STARTS = ("noisy", "fresh", "given")
#: What a law is called that a model is or tilts, whose density is known, or estimated.
OWN = ("its own law", "its own law, whose density is an estimate")


def score_of(scored: Scored, device: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """-∇E as a function of arrays (n, *event) -> (n, *event) float64, in nats per data unit; None without an energy."""
    energy = scored.energy
    if energy is None:
        return None

    @torch.no_grad()
    def score(x: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(np.ascontiguousarray(x)).float()
        with frozen(scored.module) if scored.module else nullcontext():
            return torch.cat([-gradient(energy, part.to(device)).double().cpu() for part in points.split(CHUNK)]).numpy()

    return score


def probabilities_of(scored: Scored, device: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """p(y | x) as a function of arrays (n, *event) -> (n, classes) float64; None without a classifier."""
    classify = scored.class_probabilities
    if classify is None:
        return None

    @torch.no_grad()
    def probabilities(x: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(np.ascontiguousarray(x)).float()
        return torch.cat([classify(part.to(device)).cpu() for part in points.split(CHUNK)]).numpy()

    return probabilities


def bracketed(scored: Scored, flow: Callable[[], Law], config: PartitionConfig, device: str) -> Callable[[], Bracket] | None:
    """What estimates log Z by annealing when it is called; None without an energy, or of one that declares no base and is improper.

    An energy that tilts a flow is annealed to in the flow's latent space, unless ``config`` asks for the flow fitted to the data: the laws
    on the way are the same, and nearly Gaussian there.

    Args:
        scored: energy, its base, and samples, among which those of its law are where the way back starts.
        flow: loads the flow fitted to the data; called where ``config`` has annealing begin at one.
        config: how.
        device: where.
    """
    energy, base = scored.energy, scored.base
    if energy is None or base is None:
        return None
    own = OWN[base.estimated] if isinstance(base, TransportedLaw) else "the Gaussian base" if base.support is None else "the uniform base"
    source = next((name for name in STARTS if name in scored.samples), None)
    starts = None if source is None else torch.from_numpy(scored.samples[source]).float().to(device)

    def in_data_space(generator: torch.Generator) -> Bracket:
        bases: dict[str, Law] = {} if config.base == "flow" else {own: base}
        if config.base != "own":
            bases["a flow fitted to the data"] = flow().to(device)
        return bracket(bases, energy, starts, config, generator, scored.exact)

    def in_latent_space(generator: torch.Generator) -> Bracket:
        assert scored.latent is not None and scored.latent_samples is not None
        drawn = scored.latent_samples(config.repeats * config.chains, generator)
        return bracket({"the law that it tilts, in its latent space": scored.latent.base}, scored.latent, drawn, config, generator)

    def estimate() -> Bracket:
        generator = torch_generator(scored.seed, "evaluation", "annealing", device=device)
        with frozen(scored.module) if scored.module else nullcontext():
            try:
                return (in_data_space if scored.latent is None or config.base == "flow" else in_latent_space)(generator)
            except ValueError as reason:
                raise NotAvailable(reason) from reason

    return estimate
