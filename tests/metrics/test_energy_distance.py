"""The energy distance against closed forms, another library, the sum over pairs and its own standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import gamma, hyp1f1

from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.energy_distance import EnergyDistance, negative_distance
from ebmpipe.metrics.estimators.two_sample import gram, kept_gram, squared_mmd

Maker = Callable[..., Evaluation]


def estimate(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    return squared_mmd(gram(negative_distance, x), gram(negative_distance, y), gram(negative_distance, x, y))


def mean_norm(shift: float, sd: float, d: int) -> float:
    """E‖z‖ for z ~ N(a, sd² I) in d dimensions with ‖a‖ = shift."""
    return float(sd * np.sqrt(2) * gamma((d + 1) / 2) / gamma(d / 2) * hyp1f1(-0.5, d / 2, -(shift**2) / (2 * sd**2)))


def test_it_is_the_definition_summed_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 3)), 0.4 + rng.standard_normal((270, 3))

    def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
        distances = np.linalg.norm(a[:, None] - b, axis=2)
        return float(distances.sum() / (len(a) * (len(b) - (a is b))))

    assert estimate(x, y)[0] == pytest.approx(2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y), rel=1e-10)


def test_scipy_gives_the_root_of_the_biased_estimate() -> None:
    from scipy.stats import energy_distance

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((150, 1)), rng.gamma(2.0, size=(110, 1))
    # Its pairs include each point with itself, at distance 0, which lowers E|X-X'| by a factor 1 - 1/n.
    itself = -gram(negative_distance, x).mean / len(x) - gram(negative_distance, y).mean / len(y)
    assert energy_distance(x[:, 0], y[:, 0]) ** 2 == pytest.approx(estimate(x, y)[0] + itself, rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 10])
@pytest.mark.parametrize(("shift", "sd"), [(0.0, 1.0), (0.6, 1.0), (0.0, 1.5)])
def test_between_gaussians(d: int, shift: float, sd: float) -> None:
    rng = np.random.default_rng(d)
    x, y = sd * rng.standard_normal((1500, d)), rng.standard_normal((2000, d))
    x[:, 0] += shift
    expected = 2 * mean_norm(shift, np.hypot(1, sd), d) - mean_norm(0, np.sqrt(2) * sd, d) - mean_norm(0, np.sqrt(2), d)
    value, error = estimate(x, y)
    assert abs(value - expected) < 4 * error
    assert (shift == 0 and sd == 1) or expected > 4 * error


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_standard_error_is_the_spread_over_samples(shift: float) -> None:
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        found.append(estimate(shift + rng.standard_normal((150, 2)), rng.standard_normal((200, 2))))
    values, errors = np.array(found).T
    assert 0.8 < errors.mean() / values.std(ddof=1) < 1.6
    if shift == 0:
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def only(evaluation: Evaluation) -> Measurement:
    (row,) = EnergyDistance().compute(evaluation)
    return row


def test_its_unit_is_that_of_the_data(plane: Maker) -> None:
    here = plane(plane().samples["fresh"] + 0.5)
    wider = replace(here, test=3 * here.test, samples={"fresh": 3 * here.samples["fresh"]}, cache={})
    assert only(wider).value == pytest.approx(3 * only(here).value, rel=1e-9)  # type: ignore[operator]


def test_it_does_not_depend_on_where_the_data_lie(plane: Maker) -> None:
    here = plane()
    there = replace(here, test=here.test + 1e6, samples={"fresh": here.samples["fresh"] + 1e6}, cache={})
    assert only(there).value == pytest.approx(only(here).value, abs=1e-6)


def test_at_most_5000_a_side(plane: Maker) -> None:
    assert only(plane(n=6000)).n == 5000


def test_the_test_side_is_computed_once() -> None:
    x, cache, calls = np.random.default_rng(0).standard_normal((50, 2)), {}, []

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        calls.append(len(a))
        return negative_distance(a, b)

    first = kept_gram(kernel, x, cache, "mine")
    again, fresh = kept_gram(kernel, x, cache, "mine"), gram(negative_distance, x)
    assert calls == [50] and set(cache) == {"mine/rows", "mine/square"}
    for made in (first, again):
        assert np.array_equal(made.rows, fresh.rows) and made.square == fresh.square
        assert made.columns == pytest.approx(fresh.columns, rel=1e-12)
