"""The way from one sample of a model to another through its latent space, and straight through data space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.spec import DataSpec

#: Pairs of samples, of which so many are kept for figures, and points of the way between them.
PAIRS, KEPT, POINTS = 64, 4, 33


@dataclass(frozen=True)
class Interpolated:
    """Ways between samples. Arrays are float64 in model space.

    Attributes:
        latent: along a great circle of latent vectors, (pairs, points, *event).
        straight: along the line between the same ends in data space, likewise.
        energy: in nats, of both: of the latent vectors E(z), and of the points in data space E(x), (2, pairs, points).
    """

    latent: np.ndarray
    straight: np.ndarray
    energy: np.ndarray

    @property
    def barriers(self) -> np.ndarray:
        """How far E rises above the line between its values at the ends, at most, (2, pairs): never below 0."""
        times = np.linspace(0, 1, self.energy.shape[2])
        line = self.energy[:, :, :1] * (1 - times) + self.energy[:, :, -1:] * times
        return np.asarray((self.energy - line).max(axis=2))


#: Interpolates between so many pairs of samples at so many points.
Interpolator = Callable[[int, int], Interpolated]


class Interpolation(Metric):
    """The energy's barriers between samples, of models with a latent space: along it, and straight through data space."""

    name = "interpolation"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {
        "interpolation_barrier": MetricInfo(
            "nats",
            None,
            "highest rise of the energy of z above the line between its ends, on the way from sample to sample in latent space",
        ),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Nothing of models without a latent space."""
        return () if evaluation.interpolated is None else ("interpolation_barrier", "interpolation_barrier@data_space")

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.interpolated is None:
            return
        found = evaluation.interpolated(PAIRS, POINTS)
        evaluation.drawn["interpolation/latent"] = found.latent[:KEPT].astype(np.float32)
        evaluation.drawn["interpolation/straight"] = found.straight[:KEPT].astype(np.float32)
        evaluation.drawn["interpolation/energy"] = found.energy.astype(np.float32)
        ways = ("a great circle of latent vectors", "a straight line in data space")
        for barriers, way, source in zip(found.barriers, ways, ("", "data_space"), strict=True):
            mean, error = mean_and_error(barriers)
            row = self.measured("interpolation_barrier", mean, PAIRS, error, f"{PAIRS} pairs of own samples, {POINTS} points on {way}")
            yield row.at(source) if source else row
