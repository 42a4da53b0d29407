"""Fréchet distance between Gaussians fitted to features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.feature_metric import EXTRACTORS, DistanceMetric, both_sides, distance_id, protocol
from ebmpipe.metrics.estimators.feature_statistics import FeatureStatistics
from ebmpipe.metrics.estimators.jackknife import standard_error

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace


def frechet_distance(mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray) -> float:
    """‖μx - μy‖² + tr(Σx + Σy - 2 (Σx Σy)^½), the squared 2-Wasserstein distance between two Gaussians.

    With roots Σ = R², the trace of (Σx Σy)^½ is the sum of the square roots of the eigenvalues of the symmetric
    Rx Σy Rx, which are the singular values of Rx Ry: real, not negative, and without a square root of rounding errors.
    """
    root_x, root_y = _root(cov_x), _root(cov_y)
    cross = float(np.linalg.svd(root_x @ root_y, compute_uv=False).sum())
    shift = float(((mean_x - mean_y) ** 2).sum())
    return max(shift + float(np.trace(cov_x) + np.trace(cov_y)) - 2 * cross, 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root; eigenvalues below zero are rounding errors of zero."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def between(x: FeatureStatistics, y: FeatureStatistics) -> float:
    """The Fréchet distance between two sets of features."""
    return frechet_distance(*x.moments(), *y.moments())


def jackknife_error(x: FeatureStatistics, y: FeatureStatistics) -> float | None:
    """Standard error of `between`, from leaving out one group of rows, of both sides, at a time; None where groups were not kept."""
    if len(x.counts) < 2 or min(x.counts.min(), y.counts.min()) < 1:
        return None
    return standard_error(np.array([frechet_distance(*x.moments(i), *y.moments(i)) for i in range(len(x.counts))]))


class Frechet(DistanceMetric):
    """Fréchet distance (Dowson & Landau 1982; Heusel et al. 2017) between features of samples and of the test split."""

    name = "frechet"
    revision = 2
    kind = "frechet"
    ids: ClassVar[dict[str, MetricInfo]] = {
        distance_id("frechet", extractor): MetricInfo("", "lower", f"Fréchet distance to the test split in {extractor} features")
        for extractor in EXTRACTORS
    }

    def within(self, samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> Iterator[Measurement]:
        n, d = min(len(samples), len(evaluation.test)), space.dimension
        if n < d + 1:  # said before any feature is computed
            raise NotAvailable(f"{n} samples do not determine a covariance of {d} features; {d + 1} are needed")
        x, y = both_sides(samples, evaluation, space)
        yield self.measured(distance_id(self.kind, space.name), between(x, y), x.n, jackknife_error(x, y), protocol(space, x.n))
