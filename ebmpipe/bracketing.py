"""What metrics ask of a trained method beyond its energy: its score, and its log Z by annealing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from ebmpipe.config import PartitionConfig
from ebmpipe.energies import Law, frozen, gradient
from ebmpipe.methods.base import Method
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.partition.bracket import Bracket, bracket
from ebmpipe.seeding import torch_generator

#: Points per call of a gradient.
CHUNK = 4096
#: Sample sources that a way back may start at, best first: those that follow the energy's law, before any denoising jump.
STARTS = ("noisy", "fresh")


def score_of(method: Method, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """-∇E of a trained method as a function of arrays (n, *event) -> (n, *event) float64, in nats per data unit."""
    energy = method.energy_function()

    @torch.no_grad()
    def score(x: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(np.ascontiguousarray(x)).float()
        with frozen(method):
            return torch.cat([-gradient(energy, part.to(device)).double().cpu() for part in points.split(CHUNK)]).numpy()

    return score


def bracketed(
    method: Method, flow: Law | None, samples: Mapping[str, np.ndarray], config: PartitionConfig, seed: int, device: str
) -> Callable[[], Bracket]:
    """What estimates log Z of a trained method by annealing, when it is called.

    Args:
        method: the method, frozen.
        flow: fitted to the data, where ``config`` has annealing begin at one; None if there is none.
        samples: the run's, (n, *event) by source, among which those of its law are where the way back starts.
        config: how.
        seed: of the run.
        device: where.
    """
    own = "the Gaussian base" if method.base.support is None else "the uniform base"
    bases: dict[str, Law] = {} if config.base == "flow" else {own: method.base}
    if flow is not None and config.base != "own":
        bases["a flow fitted to the data"] = flow.to(device)

    def estimate() -> Bracket:
        source = next((name for name in STARTS if name in samples), None)
        if source is None:
            raise NotAvailable("there are no samples of the energy for the way back to start at")
        generator = torch_generator(seed, "evaluation", "annealing", device=device)
        at = torch.from_numpy(samples[source]).float().to(device)
        with frozen(method):
            try:
                return bracket(bases, method.energy_function(), at, config, generator, method.exact_sampler)
            except ValueError as reason:
                raise NotAvailable(reason) from reason

    return estimate
