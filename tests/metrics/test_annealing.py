"""Likelihoods from a bracket of log Z: closed forms, which end is claimed, what is said of a wide or crossed one, and of a bad energy."""

from collections.abc import Callable
from dataclasses import replace
from math import log, log2, pi
from typing import Any

import numpy as np
import pytest
from brackets import bracket_about

from ebmpipe.evaluation import rows_of
from ebmpipe.metrics.annealing import Annealing
from ebmpipe.metrics.base import Evaluation, Measurement

Maker = Callable[..., Evaluation]
D, LEVELS = 64, 17


def measured(evaluation: Evaluation) -> dict[str, Measurement]:
    rows = rows_of(Annealing(), evaluation)
    assert sorted(row.metric for row in rows) == sorted(Annealing().reports(evaluation))
    return {row.metric: row for row in rows}


def uniform(x: np.ndarray) -> np.ndarray:
    """log p up to a constant of the uniform law on the box of images."""
    return np.where((np.abs(x) <= 1).reshape(len(x), -1).all(axis=1), 0.0, -np.inf)


def test_the_uniform_law_takes_the_logarithm_of_the_levels(pictures: Maker) -> None:
    rows = measured(pictures(log_unnormalised=uniform, bracket=lambda: bracket_about(D * log(2), error=0)))
    assert rows["nll"].value == pytest.approx(D * log(2))
    assert rows["bits_per_dim"].value == pytest.approx(log2(LEVELS))
    assert rows["bits_per_dim"].stderr == pytest.approx(0, abs=1e-12)
    assert "17 levels, uniformly dequantised into [-1, 1)" in rows["bits_per_dim"].protocol


def test_a_gaussian_has_its_cross_entropy(pictures: Maker) -> None:
    evaluation = pictures(
        log_unnormalised=lambda x: -(x**2).reshape(len(x), -1).sum(axis=1) / 2, bracket=lambda: bracket_about(D / 2 * log(2 * pi))
    )
    rows = measured(evaluation)
    expected = float((np.asarray(evaluation.test) ** 2).reshape(-1, D).sum(axis=1).mean() / 2 + D / 2 * log(2 * pi))
    assert rows["nll"].value is not None and rows["nll_lower"].value is not None
    assert rows["nll_lower"].value < expected < rows["nll"].value < expected + 0.1
    assert rows["bits_per_dim"].value == pytest.approx(rows["nll"].value / (D * log(2)) + log2(LEVELS / 2))


@pytest.mark.parametrize("crossed", [False, True])
def test_the_claim_is_the_worse_end_whatever_it_is_called(pictures: Maker, crossed: bool) -> None:
    gap = -0.3 if crossed else 0.3
    found = bracket_about(10.0, gap=gap)
    rows = measured(pictures(log_unnormalised=uniform, bracket=lambda: found))
    assert (rows["log_z_lower"].value, rows["log_z_upper"].value) == (found.lower, found.upper), "never sorted"
    assert (found.lower > found.upper) is crossed
    # Two standard errors of 0.01 beyond the worse and the better of both estimates, which lie 0.15 on either side of 10.
    assert rows["nll"].value == rows["nll_upper"].value == pytest.approx(10.17)
    assert rows["nll_lower"].value == pytest.approx(9.83)


def test_too_wide_a_bracket_is_an_interval_and_no_number(pictures: Maker) -> None:
    # 0.02 bits per dimension are 0.89 nats; estimates that have crossed are as far apart as others.
    gaps = (0.7, 1.1, -1.1)
    narrow, wide, crossed = (measured(pictures(log_unnormalised=uniform, bracket=lambda g=g: bracket_about(10.0, gap=g))) for g in gaps)
    assert crossed["nll"].status == wide["nll"].status
    assert narrow["bits_per_dim"].status == narrow["nll"].status == "ok"
    for metric in ("nll", "bits_per_dim"):
        row, low, high = (wide[metric + end] for end in ("", "_lower", "_upper"))
        assert row.value is None and row.status == f"interval: {low.value:.6g} to {high.value:.6g}"
        assert low.value is not None and high.value is not None and low.value < high.value
    assert wide["log_z@forward"].status == wide["log_z_upper"].status == "ok"


def test_an_upper_end_from_samples_that_are_not_exact_is_called_no_bound(pictures: Maker, plane: Maker) -> None:
    for make in (pictures, plane):
        for exact in (False, True):
            evaluation = make(bracket=lambda e=exact: bracket_about(0.0, exact=e), log_unnormalised=uniform)
            rows = measured(evaluation)
            units = {rows[metric].unit for metric in ("log_z@backward", "log_z_upper")}
            assert units == {"nats" if exact else "nats (not a bound)"}
            assert rows["log_z@forward"].unit == rows["log_z_lower"].unit == "nats"


def test_in_the_plane_it_stands_beside_quadrature(plane: Maker) -> None:
    rows = measured(plane(bracket=lambda: bracket_about(0.0)))
    assert {metric for metric in rows if "@" not in metric} == {"log_z_lower", "log_z_upper"}
    assert {metric.partition("@")[2] for metric in rows if "@" in metric} == {"forward", "backward", "smc", "importance"}


def test_what_has_no_likelihood_says_why(pictures: Maker, plane: Maker) -> None:
    def reasons(**fields: Any) -> set[str]:
        return {row.status for row in measured(pictures(**fields)).values() if row.value is None}

    assert reasons(log_unnormalised=None, bracket=None) == {"not available: the run has no energy"}
    improper = "not available: improper: the energy declares neither a base that it tilts nor a box that it lives on"
    assert reasons(log_unnormalised=uniform, bracket=None) == {improper}
    outside = np.asarray(pictures().test).copy()
    outside[:3] = 2.0
    fields = {"log_unnormalised": uniform, "bracket": lambda: bracket_about(0.0), "test": outside}
    assert reasons(**fields) == {"not available: the model gives zero density to 3 of 300 test examples"}
    assert measured(pictures(**fields))["log_z"].status == "ok"


def test_an_energy_that_allows_for_noise_is_also_asked_about_noisy_data(pictures: Maker) -> None:
    def bowl(x: np.ndarray) -> np.ndarray:
        return np.asarray(-(x**2).reshape(len(x), -1).sum(axis=1) / 2)

    noisy = np.asarray(pictures().test) + 0.5
    rows = measured(pictures(log_unnormalised=bowl, bracket=lambda: bracket_about(1.0), smoothed=lambda part: noisy[part]))
    assert rows["nll@smoothed"].value == pytest.approx(-bowl(noisy).mean() + bracket_about(1.0).extremes[1])
    assert "nll@smoothed" not in measured(pictures(log_unnormalised=bowl, bracket=lambda: bracket_about(1.0)))


def test_labels_without_levels_have_no_bits(pictures: Maker) -> None:
    evaluation = pictures(log_unnormalised=uniform, bracket=lambda: bracket_about(0.0))
    plain = replace(evaluation, spec=replace(evaluation.spec, kind="vectors", levels=None))
    assert not any("bits" in metric for metric in measured(plain))
