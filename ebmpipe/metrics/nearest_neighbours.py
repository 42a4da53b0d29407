"""Memorisation: how close samples come to training examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked, chunks, subsample
from ebmpipe.spec import DataSpec

#: Most samples, and most test examples.
LIMIT = 1_000

#: Resamples behind the standard error.
RESAMPLES = 200


def neighbours(samples: np.ndarray, train: np.ndarray, k: int) -> np.ndarray:
    """Indices into ``train`` of the ``k`` nearest training examples of each sample, nearest first, (n, k).

    By Euclidean distance between flattened events.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"{k} neighbours of {len(train)} training examples")
    x, y = samples.reshape(len(samples), -1).astype(np.float64), train.reshape(len(train), -1).astype(np.float64)
    squares, found = (y**2).sum(axis=1), np.empty((len(x), k), dtype=np.int64)
    for part in chunks(len(x), max(1, 2**24 // len(y))):
        closeness = squares - 2 * (x[part] @ y.T)
        nearest = np.argpartition(closeness, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(closeness, nearest, axis=1), axis=1)
        found[part] = np.take_along_axis(nearest, order, axis=1)
    return found


def nearest_distances(samples: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Distance of each sample to its nearest training example, (n,); exactly 0 for a copy."""
    nearest = train[neighbours(samples, train, 1)[:, 0]]
    return np.asarray(np.linalg.norm((samples - nearest).reshape(len(samples), -1), axis=1))


class NearestNeighbours(SampleMetric):
    """Nearest training examples of samples, against those of unseen real data."""

    name = "nearest_neighbours"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "nn_distance_ratio": MetricInfo(
            "ratio", None, "median distance to the nearest training example, samples over test examples; far below 1: copies"
        ),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind == "images"

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        samples, rng = checked(samples, evaluation.test), evaluation.rng(self.name)
        if "nearest_neighbours/test" not in evaluation.cache:
            evaluation.cache["nearest_neighbours/test"] = nearest_distances(subsample(evaluation.test, LIMIT, rng), evaluation.train)
        of_test = evaluation.cache["nearest_neighbours/test"]
        if not np.median(of_test) > 0:
            raise NotAvailable("most test examples are copies of training examples")
        # A stream of its own, so that the samples drawn do not depend on whether the test side was cached.
        rng = evaluation.rng(f"{self.name}/samples")
        of_samples = nearest_distances(subsample(samples, LIMIT, rng), evaluation.train)
        ratios = [
            float(np.median(rng.choice(of_samples, len(of_samples))) / np.median(rng.choice(of_test, len(of_test))))
            for _ in range(RESAMPLES)
        ]
        value = float(np.median(of_samples) / np.median(of_test))
        yield self.measured("nn_distance_ratio", value, len(of_samples), float(np.std(ratios, ddof=1)))
