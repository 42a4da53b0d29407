"""Kernel distance between features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, SampleMetric
from ebmpipe.metrics.estimators.arrays import equally_many, features_of, varied
from ebmpipe.metrics.estimators.two_sample import gram, squared_mmd
from ebmpipe.spec import DataSpec

#: Most samples, and most test examples.
LIMIT = 5_000


def polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(⟨x_i, y_j⟩ / d + 1)³, (m, n)."""
    return np.asarray((x @ y.T / x.shape[1] + 1.0) ** 3)


class KernelDistance(SampleMetric):
    """Unbiased squared MMD with a cubic kernel (Bińkowski et al. 2018) between features of samples and of the test split."""

    name = "kernel_distance"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        f"kernel_{extractor}": MetricInfo("MMD²", "lower", f"squared MMD to the test split in {extractor} features, cubic kernel")
        for extractor in registry.names("features")
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind == "images"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """The id of the extractor at hand."""
        return tuple(i for i in self.ids if evaluation.extractor is None or i == f"kernel_{evaluation.extractor}")

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        sides = equally_many(samples, evaluation, evaluation.rng(self.name), LIMIT)
        x, y = (features_of(side, evaluation) for side in sides)
        varied(x, "samples")
        varied(y, "test examples")
        value, error = squared_mmd(gram(polynomial, x), gram(polynomial, y), gram(polynomial, x, y))
        yield self.measured(f"kernel_{evaluation.extractor}", value, len(x), error)
