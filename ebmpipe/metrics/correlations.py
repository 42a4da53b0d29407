"""First and second moments of binary samples against those of the test split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked
from ebmpipe.spec import DataSpec


class Correlations(SampleMetric):
    """Root mean square differences of E[x_i] over coordinates and of E[x_i x_j] over pairs, between samples and test split.

    A Boltzmann machine is its law of largest entropy given just these moments. With n samples and m test examples of one law they come to
    about √(1/n + 1/m) times the spread of a coordinate, not to 0.
    """

    name = "correlations"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "mean_error": MetricInfo("", "lower", "root mean square difference of the coordinates' means to the test split"),
        "correlation_error": MetricInfo("", "lower", "root mean square difference of the pairs' mean products to the test split"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind == "binary"

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        x, y = (np.asarray(one, dtype=np.float64).reshape(len(one), -1) for one in (checked(samples, evaluation.test), evaluation.test))
        if lost := int((np.abs(x) != 1).any(axis=1).sum()):
            raise NotAvailable(f"{lost} of {len(x)} samples are no states of -1 and 1")
        pairs = np.triu_indices(x.shape[1], 1)
        yield self.measured("mean_error", rms(x.mean(axis=0) - y.mean(axis=0)), len(x))
        yield self.measured("correlation_error", rms((x.T @ x / len(x) - y.T @ y / len(y))[pairs]), len(x))


def rms(x: np.ndarray) -> float:
    """The root mean square of ``x``; 0 of nothing, as one coordinate has no pairs."""
    return float(np.sqrt(np.square(x).mean())) if x.size else 0.0
