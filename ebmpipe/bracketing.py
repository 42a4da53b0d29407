"""What metrics ask of an energy beyond its values: its score, its class probabilities, and its log Z by annealing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch

from ebmpipe.config import PartitionConfig
from ebmpipe.energies import Law, frozen, gradient
from ebmpipe.flow_base import NoFlow
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.partition.bracket import Bracket, bracket
from ebmpipe.scored import Scored
from ebmpipe.seeding import torch_generator

#: Points per call of a gradient.
CHUNK = 4096
#: Sample sources that a way back may start at, best first: those that follow the energy's law, before any denoising jump.
STARTS = ("noisy", "fresh", "given")


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

    Args:
        scored: energy, its base, and samples, among which those of its law are where the way back starts.
        flow: loads the flow fitted to the data; called where ``config`` has annealing begin at one.
        config: how.
        device: where.
    """
    energy, base = scored.energy, scored.base
    if energy is None or base is None:
        return None
    own = "the Gaussian base" if base.support is None else "the uniform base"
    source = next((name for name in STARTS if name in scored.samples), None)
    starts = None if source is None else torch.from_numpy(scored.samples[source]).float().to(device)

    def estimate() -> Bracket:
        bases: dict[str, Law] = {} if config.base == "flow" else {own: base}
        if config.base != "own":
            try:
                bases["a flow fitted to the data"] = flow().to(device)
            except NoFlow as reason:
                raise NotAvailable(reason) from reason
        generator = torch_generator(scored.seed, "evaluation", "annealing", device=device)
        with frozen(scored.module) if scored.module else nullcontext():
            try:
                return bracket(bases, energy, starts, config, generator, scored.exact)
            except ValueError as reason:
                raise NotAvailable(reason) from reason

    return estimate
