"""How well the couplings of pairs are recovered, where they are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.enumerated import few, log_law, walsh_couplings
from ebmpipe.spec import DataSpec


class Couplings(Metric):
    """Distance of the couplings of pairs in the model from those that the data were drawn with.

    Those of the model are the coefficients of x_i x_j in -E, which any energy of a few binary coordinates has: no network need name them.
    All states count alike in them, whatever their probability.
    """

    name = "couplings"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "couplings_error": MetricInfo(
            "", "lower", "Frobenius norm of the model's couplings of pairs less the true ones, over that of the true ones"
        ),
    }

    def applies(self, spec: DataSpec) -> bool:
        return few(spec) and spec.name in registry.names("data") and hasattr(registry.load("data", spec.name), "couplings")

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        truth = getattr(evaluation.law, "couplings", None)
        if truth is None:
            raise NotAvailable("the true couplings are unknown")
        log_p, _ = log_law(evaluation)
        if lost := int((~np.isfinite(log_p)).sum()):
            raise NotAvailable(f"the model gives zero probability to {lost} of {len(log_p)} states")
        found = walsh_couplings(log_p, evaluation.spec.shape)
        yield self.measured("couplings_error", float(np.linalg.norm(found - truth) / np.linalg.norm(truth)))
