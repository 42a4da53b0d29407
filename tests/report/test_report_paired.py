"""Differences seed by seed: what is compared with what, on which side better is, and intervals."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from scipy.stats import ttest_rel

from ebmpipe.metrics.base import MetricInfo
from ebmpipe.report.paired import FIRST, frame, markdown

INFOS = {
    "frechet_lenet": MetricInfo("", "lower", ""),
    "recall": MetricInfo("share", "higher", ""),
    "reconstruction_mse": MetricInfo("", "lower", "", controlled=False),
    "bits_per_dim_upper": MetricInfo("bits", None, ""),
    "nll": MetricInfo("nats", "lower", ""),
    "log_z": MetricInfo("nats", None, ""),
}
FLOW, TILT = {0: 1.2, 1: 1.3, 2: 1.1}, {0: 0.7, 1: 1.4, 2: 0.6}


def metrics() -> pd.DataFrame:
    found: list[tuple[str, str, int, str, float | None]] = []
    for seed in range(3):
        found += [
            ("digits", "data", seed, "frechet_lenet", 0.1),
            ("digits", "flow", seed, "frechet_lenet", FLOW[seed]),
            ("digits", "flow", seed, "bits_per_dim_upper", 3.5),
            ("digits", "flow", seed, "log_z", 0.0),
            ("digits", "flow", seed, "nll@smoothed", 5.0),
            ("digits", "tilt", seed, "frechet_lenet", 50.0),
            ("digits", "tilt", seed, "frechet_lenet@own", TILT[seed]),
            ("digits", "tilt", seed, "bits_per_dim_upper", 3.4 + 0.01 * seed),
            ("digits", "tilt", seed, "log_z", 1.0),
            ("digits", "tilt", seed, "nll@smoothed", 4.0 - seed),
            ("digits", "dual", seed, "frechet_lenet@own", 3.0),
            ("digits", "dual", seed, "nll@smoothed", 4.5),
            ("digits", "dual", seed, "frechet_lenet@generated", 9.0 + seed),
            ("digits", "dual", seed, "recall@own", 0.5),
            ("digits", "dual", seed, "recall@generated", 0.5),
            ("digits", "dual", seed, "reconstruction_mse", 0.02 if seed else None),
            ("digits", "dual", seed, "reconstruction_mse@inferred", 0.03),
        ]
    return pd.DataFrame(found, columns=["dataset", "method", "seed", "metric", "value"])


def made() -> pd.DataFrame:
    return frame(metrics(), {"digits": {"tilt": {"backbone": "flow"}}}, {"digits": {"data"}}, INFOS)


def one(found: pd.DataFrame, **where: Any) -> Any:
    for column, value in where.items():
        found = found[found[column] == value]
    (row,) = found.itertuples()
    return row


def test_a_tilt_is_compared_with_what_it_tilts_by_its_own_samples() -> None:
    row = one(made(), method="tilt", metric="frechet_lenet")
    assert (row.reference, row.pairs, row.better) == ("flow", 3, 2)
    assert (row.value, row.reference_value) == pytest.approx((0.9, 1.2))
    interval = ttest_rel(list(TILT.values()), list(FLOW.values())).confidence_interval(0.95)
    assert (row.difference, row.difference_low, row.difference_high) == pytest.approx((-0.3, interval.low, interval.high))


def test_samples_of_another_sampler_do_not_stand_in_for_lost_ones() -> None:
    lost = metrics()
    lost.loc[(lost["method"] == "tilt") & (lost["metric"] == "frechet_lenet@own"), "value"] = None
    found = frame(lost, {"digits": {"tilt": {"backbone": "flow"}}}, {"digits": {"data"}}, INFOS)
    assert set(found[found["method"] == "tilt"]["metric"]) == {"bits_per_dim_upper", "nll@smoothed"}


def test_of_likelihoods_the_pessimistic_end_counts_and_what_has_no_side_does_not() -> None:
    found = made()
    row = one(found, method="tilt", metric="bits_per_dim_upper")
    assert row.better == 3 and row.difference == pytest.approx(-0.09)
    assert "log_z" not in set(found["metric"])
    smoothed = one(found, method="tilt", metric="nll@smoothed")
    assert (smoothed.reference, smoothed.better) == ("flow", 3) and smoothed.difference == pytest.approx(-2)
    assert "nll" not in set(found["metric"]), "what is of other examples is not taken for it"


def test_a_label_is_compared_with_a_part_of_itself() -> None:
    found = made()
    row = one(found, method="dual", reference="dual@generated", metric="frechet_lenet")
    assert (row.better, row.pairs) == (3, 3) and row.difference == pytest.approx(-7)
    assert one(found, method="dual", reference="dual@generated", metric="recall").better == 0, "a tie is no win"
    row = one(found, method="dual", reference="dual@inferred")
    assert (row.pairs, row.better) == (2, 2), "of the seeds that have both"


def test_others_are_compared_with_the_first_label_that_is_trained() -> None:
    found = made()
    assert one(found, method="dual", reference="flow").metric == "frechet_lenet"
    assert "data" not in {*found["method"], *found["reference"]}
    firsts = found[found["as"] == FIRST]
    assert set(firsts["reference"]) == {"flow"} and "tilt" not in set(firsts["method"]), "once as what it tilts"


def test_the_text_shows_the_first_label_in_the_headline_alone() -> None:
    text = markdown(made(), {"digits": "frechet_lenet"})
    assert "| `tilt` | `flow` | its backbone | `frechet_lenet` |" in text
    assert "| `dual` | `dual@inferred` | its inference model's codes |" in text
    assert "| `dual` | `flow` | the first label |" in text
    assert "| `dual` | `flow` | the first label |" not in markdown(made(), {"digits": "recall"})
    assert markdown(frame(metrics()[:0], {}, {}, INFOS), {}).count("|") == 0
