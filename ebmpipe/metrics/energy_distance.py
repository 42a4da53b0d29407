"""Energy distance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked, pixel_protocol, subsample, test_examples
from ebmpipe.metrics.estimators.distances import squared_distances
from ebmpipe.metrics.estimators.two_sample import gram, kept_gram, squared_mmd
from ebmpipe.spec import DataSpec

#: Most samples, and most test examples.
LIMIT = 5_000


def negative_distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-‖x_i - y_j‖, (m, n): the kernel whose squared MMD is the energy distance (Sejdinovic et al. 2013)."""
    distances = squared_distances(x, y)
    np.sqrt(distances, out=distances)
    return np.asarray(np.negative(distances, out=distances))


class EnergyDistance(SampleMetric):
    """Unbiased energy distance (Székely & Rizzo 2013) between samples and test split, on flattened events."""

    name = "energy_distance"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {
        "energy_distance": MetricInfo("data units", "lower", "energy distance 2E|X-Y| - E|X-X'| - E|Y-Y'| to the test split, unbiased"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return True

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        x, y = subsample(checked(samples, evaluation.test), LIMIT, evaluation.rng(self.name)), test_examples(evaluation, LIMIT)
        x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
        # A shift changes no distance, but keeps the differences of squares accurate where the data are far from 0.
        x, y = x - y.mean(axis=0), y - y.mean(axis=0)
        within = kept_gram(negative_distance, y, evaluation.cache, self.name)
        value, error = squared_mmd(gram(negative_distance, x), within, gram(negative_distance, x, y))
        yield self.measured(self.name, value, len(x), error, pixel_protocol(evaluation, len(x), len(y)))
