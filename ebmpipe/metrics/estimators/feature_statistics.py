"""What is kept of the features of many images, which themselves are never in memory together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ebmpipe.metrics.base import Events, NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.jackknife import GROUPS

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace

#: Images whose features are computed together.
CHUNK = 512

#: Most feature vectors that are kept as they are, for metrics of pairs.
KEPT = 5_000

#: Widest features for which moments are kept by groups: 20 matrices of 2048² would be 670 MB, and a jackknife over them minutes.
WIDEST = 256


@dataclass(frozen=True)
class FeatureStatistics:
    """Moments of n feature vectors by groups (row i belongs to group i modulo their number), and the first of the vectors.

    Attributes:
        shift: (d,) that everything is about, near the mean, so that sums of squares keep their digits.
        counts: rows of each group, (g,).
        sums: their sums less the shift, (g, d) float64.
        products: sums of their outer products less the shift, (g, d, d) float64.
        rows: the first vectors themselves, no more than `KEPT`, (m, d) float64.
    """

    shift: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    products: np.ndarray
    rows: np.ndarray

    @property
    def n(self) -> int:
        """Number of feature vectors."""
        return int(self.counts.sum())

    def moments(self, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d), divisor n - 1, of all rows, or of all but those of one group."""
        groups = np.arange(len(self.counts)) != (-1 if without is None else without)
        n = int(self.counts[groups].sum())
        mean = self.sums[groups].sum(axis=0) / n
        covariance = (self.products[groups].sum(axis=0) - n * np.outer(mean, mean)) / (n - 1)
        return self.shift + mean, covariance

    def check_variance(self, of: str) -> None:
        """Check that the features are not all one and the same.

        Raises:
            NotAvailable: if they are: a distance to a single point says nothing about a distribution.
        """
        mean, covariance = self.moments()
        if not (np.sqrt(np.maximum(np.diag(covariance), 0.0)) > 1e-9 * (1 + np.abs(mean).max())).any():
            raise NotAvailable(f"the features of the {of} have no variance")


def features_of(x: np.ndarray, space: FeatureSpace, of: str) -> np.ndarray:
    """Features of ``x`` (n, *event) in ``space``, (n, d) float64.

    Raises:
        ValueError: if the network makes features of another shape than it declares.
        NotAvailable: if it makes no finite numbers of ``x``.
    """
    features = np.asarray(space.extract(x), dtype=np.float64)
    if features.shape != (len(x), space.dimension):
        raise ValueError(f"{space.name} made features of shape {features.shape} from {len(x)} events, not {(len(x), space.dimension)}")
    if not np.isfinite(features).all():
        raise NotAvailable(f"{space.name} features of the {of} are not finite")
    return features


def statistics_of(x: Events, order: np.ndarray, space: FeatureSpace, of: str) -> FeatureStatistics:
    """The statistics of the events ``order`` of ``x`` in that order, at least two, in one pass over chunks of them.

    Raises:
        As `features_of`.
    """
    groups, d = GROUPS if space.dimension <= WIDEST else 1, space.dimension
    counts, sums, products = np.zeros(groups, dtype=np.int64), np.zeros((groups, d)), np.zeros((groups, d, d))
    rows, shift = np.empty((min(len(order), KEPT), d)), np.zeros(d)
    for part in chunks(len(order), CHUNK):
        features = features_of(x[order[part]], space, of)
        kept = rows[part]
        kept[:] = features[: len(kept)]
        if part.start == 0:
            shift = features.mean(axis=0)
        features = features - shift
        for group in range(groups):
            mine = features[(group - part.start) % groups :: groups]
            counts[group] += len(mine)
            sums[group] += mine.sum(axis=0)
            products[group] += mine.T @ mine
    return FeatureStatistics(shift, counts, sums, products, rows)
