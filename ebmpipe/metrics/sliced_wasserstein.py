"""Sliced Wasserstein distance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, SampleMetric
from ebmpipe.metrics.estimators.arrays import chunks, equally_many, pixel_protocol
from ebmpipe.spec import DataSpec

#: Directions drawn.
DIRECTIONS = 256

#: Most samples, and most test examples.
LIMIT = 10_000


def sliced_distances(x: np.ndarray, y: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distance between ``x`` and ``y``, both (n, d), projected on each of ``directions`` (k, d); (k,)."""
    distances = np.empty(len(directions))
    for part in chunks(len(directions), 16):
        # Between samples of one size on a line the best transport pairs them in order.
        a, b = np.sort(directions[part] @ x.T, axis=1), np.sort(directions[part] @ y.T, axis=1)
        distances[part] = np.abs(a - b).mean(axis=1)
    return distances


class SlicedWasserstein(SampleMetric):
    """Mean Wasserstein-1 distance over random directions (Rabin et al. 2011) between samples and test split."""

    name = "sliced_wasserstein"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {
        "sliced_wasserstein": MetricInfo("data units", "lower", "sliced Wasserstein-1 distance to the test split, 256 directions"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return True

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        rng = evaluation.rng(self.name)
        directions = rng.standard_normal((DIRECTIONS, evaluation.spec.dimension))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        x, y = equally_many(samples, evaluation, rng, LIMIT)
        distances = sliced_distances(x.reshape(len(x), -1), y.reshape(len(y), -1), directions)
        error = float(distances.std(ddof=1) / np.sqrt(DIRECTIONS))
        yield self.measured(self.name, float(distances.mean()), len(x), error, pixel_protocol(evaluation, len(x), len(y)))
