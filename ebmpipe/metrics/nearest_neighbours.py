"""Memorisation: how close samples come to training examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Events, Measurement, MetricInfo, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked, chunks, pixel_protocol, subsample, test_examples
from ebmpipe.spec import DataSpec

#: Most samples, and most test examples.
LIMIT = 1_000

#: Training examples that are held in memory at once.
CHUNK = 2_048

#: Resamples behind the standard error.
RESAMPLES = 200


def neighbours(samples: np.ndarray, train: Events, k: int) -> np.ndarray:
    """Indices into ``train`` of the ``k`` nearest training examples of each sample, nearest first, (n, k).

    By Euclidean distance between flattened events. Training examples are looked at `CHUNK` at a time, so that they may be a view.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"{k} neighbours of {len(train)} training examples")
    x = samples.reshape(len(samples), -1).astype(np.float64)
    found: np.ndarray = np.empty((len(x), 0), dtype=np.int64)
    closeness: np.ndarray = np.empty((len(x), 0))
    for part in chunks(len(train), CHUNK):
        y = np.asarray(train[part], dtype=np.float64).reshape(part.stop - part.start, -1)
        closeness = np.concatenate([closeness, (y**2).sum(axis=1) - 2 * (x @ y.T)], axis=1)
        found = np.concatenate([found, np.broadcast_to(np.arange(part.start, part.stop), (len(x), len(y)))], axis=1)
        nearest = np.argpartition(closeness, min(k, closeness.shape[1]) - 1, axis=1)[:, :k]
        closeness, found = (np.take_along_axis(each, nearest, axis=1) for each in (closeness, found))
    return np.asarray(np.take_along_axis(found, np.argsort(closeness, axis=1), axis=1))


def nearest_distances(samples: np.ndarray, train: Events) -> np.ndarray:
    """Distance of each sample to its nearest training example, (n,); exactly 0 for a copy."""
    nearest = train[neighbours(samples, train, 1)[:, 0]]
    return np.asarray(np.linalg.norm((samples - nearest).reshape(len(samples), -1), axis=1))


class NearestNeighbours(SampleMetric):
    """Nearest training examples of samples, against those of unseen real data."""

    name = "nearest_neighbours"
    revision = 2
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
            evaluation.cache["nearest_neighbours/test"] = nearest_distances(test_examples(evaluation, LIMIT), evaluation.train)
        of_test = evaluation.cache["nearest_neighbours/test"]
        if not np.median(of_test) > 0:
            raise NotAvailable("most test examples are copies of training examples")
        of_samples = nearest_distances(subsample(samples, LIMIT, rng), evaluation.train)
        ratios = [
            float(np.median(rng.choice(of_samples, len(of_samples))) / np.median(rng.choice(of_test, len(of_test))))
            for _ in range(RESAMPLES)
        ]
        value = float(np.median(of_samples) / np.median(of_test))
        said = pixel_protocol(evaluation, len(of_samples), len(of_test)) + f", nearest of {len(evaluation.train)} training images"
        yield self.measured("nn_distance_ratio", value, len(of_samples), float(np.std(ratios, ddof=1)), said)
