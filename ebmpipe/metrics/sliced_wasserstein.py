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

#: Groups of samples and test examples behind the standard error.
GROUPS = 20

#: Most samples, and most test examples.
LIMIT = 10_000


def sliced_distances(x: np.ndarray, y: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distance between ``x`` and ``y``, both (n, d), projected on each of ``directions`` (k, d); (k,)."""
    return by_groups(x, y, directions, np.zeros(len(x), dtype=int))[0]


def by_groups(x: np.ndarray, y: np.ndarray, directions: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sliced distances between all rows, (k,), and their means over directions without each group of rows and within it, both (groups,).

    Row i of both sides is in ``group[i]``. With one group the latter two have no meaning.
    """
    distances, groups = np.empty(len(directions)), int(group.max()) + 1
    without, within = np.zeros(groups), np.zeros(groups)
    for part in chunks(len(directions), 16):
        # Between samples of one size on a line the best transport pairs them in order, and a part of what is sorted is sorted.
        (a, of_a), (b, of_b) = (_sorted(directions[part] @ side.T, group) for side in (x, y))
        distances[part] = np.abs(a - b).mean(axis=1)
        for i in range(groups if groups > 1 else 0):
            in_a, in_b = of_a == i, of_b == i
            without[i] += len(a) * np.abs(a[~in_a] - b[~in_b]).mean()
            within[i] += len(a) * np.abs(a[in_a] - b[in_b]).mean()
    return distances, without / len(directions), within / len(directions)


def _sorted(values: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row of ``values`` (k, n) in order, and the groups that the entries are in."""
    order = values.argsort(axis=1)
    return np.take_along_axis(values, order, axis=1), group[order]


def standard_error(distances: np.ndarray, without: np.ndarray, within: np.ndarray) -> float:
    """Standard error of the mean distance over samples, test examples and directions, from what `by_groups` finds.

    A distance is not differentiable where two laws are equal: leaving out groups, which takes it for linear, says too much there,
    up to a half. The spread between groups, each for itself, over √groups, is right there and where the laws are far apart, as in both
    cases it shrinks as 1/√n; in between it says too little. Which case it is shows in the mean distance within groups: √groups times
    that between all rows at equal laws, and the same far from them. The two variances are mixed accordingly.
    """
    groups, value = len(without), float(distances.mean())
    jackknife, blocks = (groups - 1) * float(without.var()), float(within.var(ddof=1)) / groups
    excess = float(within.mean()) - value
    share = min(max(excess / (value * (np.sqrt(groups) - 1)), 0.0), 1.0) if value > 0 else 1.0
    return float(np.sqrt(share * blocks + (1 - share) * jackknife + distances.var(ddof=1) / len(distances)))


class SlicedWasserstein(SampleMetric):
    """Mean Wasserstein-1 distance over random directions (Rabin et al. 2011) between samples and test split."""

    name = "sliced_wasserstein"
    revision = 3
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
        group = rng.permutation(len(x)) % max(min(GROUPS, len(x) // 2), 1)
        found = by_groups(x.reshape(len(x), -1), y.reshape(len(y), -1), directions, group)
        error = standard_error(*found) if len(found[1]) > 1 else None
        yield self.measured(self.name, float(found[0].mean()), len(x), error, pixel_protocol(evaluation, len(x), len(y)))
