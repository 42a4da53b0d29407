"""Kernel Stein discrepancy of held-out data from the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.arrays import test_examples
from ebmpipe.metrics.estimators.stein import squared_ksd
from ebmpipe.metrics.ksd import KSD, LIMIT, kernel_scale
from ebmpipe.spec import DataSpec

#: A coordinate that no image has: outside of the box that some models of images live on.
OUTSIDE = 2.0


class ModelKSD(Metric):
    """`KSD` of the test split from the model's law, as ``ksd@model``; nothing where a run has no energy. No sample, no log Z."""

    name = "model_ksd"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {}

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.score is None:
            return
        try:
            row = self._measure(evaluation)
        except NotAvailable as reason:
            row = KSD().missing("ksd", reason)
        yield row.at("model")

    def _measure(self, evaluation: Evaluation) -> Measurement:
        if self._boxed(evaluation):
            raise NotAvailable("the model lives on a box: Stein's identity asks for a density that vanishes at its border")
        x = test_examples(evaluation, LIMIT)
        assert evaluation.score is not None
        score = np.asarray(evaluation.score(x), dtype=np.float64)
        if score.shape != x.shape:
            raise ValueError(f"a score has the shape of its points, {x.shape}, not {score.shape}")
        if lost := int((~np.isfinite(score.reshape(len(x), -1)).all(axis=1)).sum()):
            raise NotAvailable(f"the model's score is not finite at {lost} of {len(x)} test examples")
        value, error = squared_ksd(x.reshape(len(x), -1), score.reshape(len(x), -1), kernel_scale(evaluation.test))
        said = f"pixels in model space, n = {len(x)} of the test split, dequantised" if evaluation.spec.kind == "images" else ""
        return KSD().measured("ksd", value, len(x), error, said)

    def _boxed(self, evaluation: Evaluation) -> bool:
        """Whether the model gives images beyond their range a density of zero."""
        if evaluation.spec.kind != "images" or evaluation.log_unnormalised is None:
            return False
        return bool(np.isneginf(evaluation.log_unnormalised(np.full((1, *evaluation.spec.shape), OUTSIDE))).all())
