"""Kernel distance between features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo
from ebmpipe.metrics.estimators.feature_metric import EXTRACTORS, DistanceMetric, both_sides, distance_id, protocol
from ebmpipe.metrics.estimators.two_sample import gram, squared_mmd

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace


def polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(⟨x_i, y_j⟩ / d + 1)³, (m, n)."""
    return np.asarray((x @ y.T / x.shape[1] + 1.0) ** 3)


class KernelDistance(DistanceMetric):
    """Unbiased squared MMD with a cubic kernel (Bińkowski et al. 2018) between features of samples and of the test split."""

    name = "kernel_distance"
    revision = 2
    kind = "kernel"
    ids: ClassVar[dict[str, MetricInfo]] = {
        distance_id("kernel", extractor): MetricInfo(
            "MMD²", "lower", f"squared MMD to the test split in {extractor} features, cubic kernel"
        )
        for extractor in EXTRACTORS
    }

    def within(self, samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> Iterator[Measurement]:
        x, y = (side.rows for side in both_sides(samples, evaluation, space))
        value, error = squared_mmd(gram(polynomial, x), gram(polynomial, y), gram(polynomial, x, y))
        yield self.measured(distance_id(self.kind, space.name), value, len(x), error, protocol(space, len(x)))
