"""Fréchet distance between Gaussians fitted to features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import equally_many, features_of, varied
from ebmpipe.spec import DataSpec

#: Most samples, and most test examples.
LIMIT = 50_000

#: Groups left out in turn for the standard error, and the widest features for which it is worth its time.
GROUPS, WIDEST = 20, 256


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


def between(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance between features ``x`` and ``y``, both (n, d)."""
    return frechet_distance(x.mean(axis=0), np.cov(x, rowvar=False), y.mean(axis=0), np.cov(y, rowvar=False))


def jackknife_error(x: np.ndarray, y: np.ndarray) -> float:
    """Standard error of `between`, from leaving out one of `GROUPS` groups of rows, of both sides, at a time."""
    group = np.arange(len(x)) % GROUPS
    left = np.array([between(x[group != i], y[group != i]) for i in range(GROUPS)])
    return float(np.sqrt((GROUPS - 1) * left.var()))


class Frechet(SampleMetric):
    """Fréchet distance (Dowson & Landau 1982; Heusel et al. 2017) between features of samples and of the test split."""

    name = "frechet"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        f"frechet_{extractor}": MetricInfo("", "lower", f"Fréchet distance to the test split in {extractor} features")
        for extractor in registry.names("features")
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind == "images"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """The id of the extractor at hand."""
        return tuple(i for i in self.ids if evaluation.extractor is None or i == f"frechet_{evaluation.extractor}")

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        sides = equally_many(samples, evaluation, evaluation.rng(self.name), LIMIT)
        x, y = (features_of(side, evaluation) for side in sides)
        n, width = x.shape
        if n < width + 1:
            raise NotAvailable(f"{n} samples do not determine a covariance of {width} features; {width + 1} are needed")
        varied(x, "samples")
        varied(y, "test examples")
        error = jackknife_error(x, y) if width <= WIDEST else None
        yield self.measured(f"frechet_{evaluation.extractor}", between(x, y), n, error)
