"""The running log Z in the tables: there for methods that have one, absent without a trace for all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.quadrature import Quadrature
from ebmpipe.metrics.training_partition import TrainingPartition


def test_it_stands_beside_that_of_quadrature(plane: Callable[..., Evaluation]) -> None:
    rows = list(TrainingPartition().compute(plane(log_partition=(0.25, 0.5))))
    assert rows == [Measurement("log_z@training", 0.25, "nats", stderr=0.5)]
    assert Quadrature.ids["log_z"].unit == "nats"


def test_methods_without_one_have_no_row(plane: Callable[..., Evaluation], pictures: Callable[..., Any]) -> None:
    for evaluation in (plane(), pictures()):
        assert not list(TrainingPartition().compute(evaluation))
        assert not list(TrainingPartition().unavailable("why", evaluation))
