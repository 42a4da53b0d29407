"""log Z as training estimated it on its way, beside what other families find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo
from ebmpipe.spec import DataSpec


class TrainingPartition(Metric):
    """The running log-partition of methods that have one, as ``log_z@training``; nothing of others."""

    name = "training_partition"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {}

    def applies(self, spec: DataSpec) -> bool:
        return True

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.log_partition is not None:
            value, error = evaluation.log_partition
            yield Measurement("log_z", value, "nats", stderr=error).at("training")
