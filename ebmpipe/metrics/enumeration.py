"""Likelihoods on states, exact: log Z as a sum over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo
from ebmpipe.metrics.estimators.enumerated import few, log_law
from ebmpipe.metrics.quadrature import Quadrature, mean_and_error
from ebmpipe.spec import DataSpec
from ebmpipe.states import all_states


class Enumeration(Metric):
    """Exact likelihoods of states with at most 20 coordinates. Where the law of the data is known, the divergence from it is exact too."""

    name = "enumeration"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {key: Quadrature.ids[key] for key in ("nll", "nll_gap", "log_z")}

    def applies(self, spec: DataSpec) -> bool:
        return few(spec)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        log_p, log_z = log_law(evaluation)
        yield self.measured("log_z", log_z)
        at_test = log_p[numbers(evaluation.test)]
        if lost := int((~np.isfinite(at_test)).sum()):
            yield self.missing("nll", f"the model gives zero probability to {lost} of {len(at_test)} test examples")
        else:
            mean, error = mean_and_error(-at_test)
            yield self.measured("nll", mean, len(at_test), error)
        if evaluation.law is None:
            yield self.missing("nll_gap", "the true law is unknown")
            return
        truth = evaluation.law.log_density(all_states(evaluation.spec.shape))
        if lost := int((~np.isfinite(log_p)).sum()):
            yield self.missing("nll_gap", f"the model gives zero probability to {lost} of {len(log_p)} states")
            return
        # A sum over all states, not a mean over test examples: it has no standard error.
        yield self.measured("nll_gap", float((np.exp(truth) * (truth - log_p)).sum()), len(log_p))


def numbers(x: np.ndarray) -> np.ndarray:
    """The places of states ``x`` (n, *event) in `all_states`, (n,) int64."""
    bits = np.asarray(x).reshape(len(x), -1) > 0
    return np.asarray(bits @ (1 << np.arange(bits.shape[1], dtype=np.int64)))
