"""Sample distances against closed forms, brute force and their own standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from ebmpipe.metrics.base import Evaluation, Measurement, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.two_sample import gram, squared_mmd
from ebmpipe.metrics.kernel_distance import polynomial
from ebmpipe.metrics.mmd import MMD, gaussian_mixture, median_distance
from ebmpipe.metrics.sliced_wasserstein import SlicedWasserstein, by_groups, sliced_distances, standard_error

Maker = Callable[..., Evaluation]


def only(metric: SampleMetric, evaluation: Evaluation) -> Measurement:
    (row,) = metric.compute(evaluation)
    return row


# Maximum mean discrepancy


@pytest.mark.parametrize("kernel", [gaussian_mixture(1.3), polynomial])
def test_squared_mmd_is_the_sum_over_pairs(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 3)), 0.4 + rng.standard_normal((270, 3))
    off = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    value, _ = squared_mmd(gram(kernel, x), gram(kernel, y), gram(kernel, x, y))
    assert value == pytest.approx(sum(off) - 2 * kernel(x, y).mean(), rel=1e-10)


def test_gaussian_mixture_has_the_documented_widths() -> None:
    x, y = np.zeros((1, 2)), np.array([[3.0, 4.0]])
    expected = np.mean([np.exp(-25 / (2 * (width * 1.7) ** 2)) for width in (2, 1, 1 / 2, 1 / 4, 1 / 8)])
    assert gaussian_mixture(1.7)(x, y) == pytest.approx(expected, rel=1e-10)


def test_squared_mmd_between_gaussians() -> None:
    # Of N(0, I) and N(a, I) with a Gaussian kernel of width w: 2 (w²/(w²+2))^(d/2) (1 - exp(-‖a‖² / (2 (w²+2)))).
    rng, width, shift = np.random.default_rng(0), 1.5, np.array([0.8, -0.3])
    x, y = rng.standard_normal((2000, 2)), shift + rng.standard_normal((2000, 2))

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-((a[:, None] - b) ** 2).sum(axis=2) / (2 * width**2)))

    expected = 2 * width**2 / (width**2 + 2) * (1 - np.exp(-(shift @ shift) / (2 * (width**2 + 2))))
    value, error = squared_mmd(gram(kernel, x), gram(kernel, y), gram(kernel, x, y))
    assert abs(value - expected) < 4 * error


@pytest.mark.parametrize("kernel", [gaussian_mixture(1.8), polynomial])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_standard_error_is_the_spread_over_samples(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], shift: float) -> None:
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        x, y = shift + rng.standard_normal((150, 2)), rng.standard_normal((200, 2))
        found.append(squared_mmd(gram(kernel, x), gram(kernel, y), gram(kernel, x, y)))
    values, errors = np.array(found).T
    assert 0.8 < errors.mean() / values.std(ddof=1) < 1.6
    if shift == 0:
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("seed", range(5))
def test_mmd_is_zero_between_equal_laws_and_not_otherwise(plane: Maker, seed: int) -> None:
    density = plane().density
    assert density is not None
    samples = density.sample(1000, np.random.default_rng(seed + 10))
    same, shifted = (only(MMD(), plane(samples + shift, seed)) for shift in (0.0, 0.3))
    assert same.value is not None
    assert abs(same.value) < 4 * same.stderr
    assert shifted.value > 4 * shifted.stderr


def test_mmd_does_not_depend_on_where_the_data_lie(plane: Maker) -> None:
    here = plane()
    there = replace(here, test=here.test + 1e6, samples={"fresh": here.samples["fresh"] + 1e6}, cache={})
    assert only(MMD(), there).value == pytest.approx(only(MMD(), here).value, rel=1e-4)


def test_bandwidth_depends_on_test_data_alone(plane: Maker) -> None:
    x = np.random.default_rng(0).standard_normal((5000, 2))
    assert median_distance(x) == pytest.approx(np.sqrt(2 * 2 * np.log(2)), rel=0.05)
    assert median_distance(x) == median_distance(x.copy())
    with pytest.raises(NotAvailable, match="all alike"):
        list(MMD().compare(plane().samples["fresh"], plane(test=np.ones((50, 2)))))


# Sliced Wasserstein


def test_sliced_wasserstein_of_a_shift(plane: Maker) -> None:
    evaluation = plane(n=4000)
    shift = np.array([1.2, -0.9])
    row = only(SlicedWasserstein(), replace(evaluation, samples={"fresh": evaluation.test + shift}, cache={}))
    # W1 along a direction is |cos| of its angle to the shift, times its length; on average 2 / π.
    assert row.value is not None
    assert abs(row.value - 1.5 * 2 / np.pi) < 4 * row.stderr
    assert only(SlicedWasserstein(), replace(evaluation, samples={"fresh": evaluation.test}, cache={})).value == 0


def test_sliced_wasserstein_between_gaussians(plane: Maker) -> None:
    evaluation = plane(n=20_000)
    density = evaluation.density
    assert density is not None
    wide = density.mean + 2 * (density.sample(20_000, np.random.default_rng(8)) - density.mean)  # type: ignore[attr-defined]
    row = only(SlicedWasserstein(), replace(evaluation, samples={"fresh": wide}, cache={}))
    # Along every direction W1 of N(m, s²) and N(m, 4 s²) is s E|z|.
    assert row.value == pytest.approx(0.7 * np.sqrt(2 / np.pi), rel=0.03)
    assert row.n == 10_000


def test_sliced_wasserstein_subsamples_the_larger_side(plane: Maker) -> None:
    evaluation = plane()
    assert only(SlicedWasserstein(), replace(evaluation, samples={"fresh": evaluation.samples["fresh"][:100]})).n == 100


@pytest.mark.parametrize(
    ("shift", "stretch", "d"), [(0.0, 1.0, 2), (0.1, 1.0, 2), (0.2, 1.0, 2), (1.0, 1.0, 2), (0.0, 1.0, 16), (0.0, 1.3, 16)]
)
def test_sliced_wasserstein_error_is_the_spread_over_samples_and_directions(shift: float, stretch: float, d: int) -> None:
    rng, n, values, errors = np.random.default_rng(0), 240, [], []
    for _ in range(150):
        x, y, directions = (rng.standard_normal((rows, d)) for rows in (n, n, 64))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        found = by_groups(shift + stretch * x, y, directions, rng.permutation(n) % 20)
        values.append(found[0].mean())
        errors.append(standard_error(*found))
    assert 0.75 < np.mean(errors) / np.std(values, ddof=1) < 1.35


def test_sliced_wasserstein_parts_are_distances_of_those_rows() -> None:
    rng = np.random.default_rng(0)
    x, y, directions = (rng.standard_normal((n, 3)) for n in (50, 50, 40))
    group = rng.permutation(50) % 4
    distances, without, within = by_groups(x, y, directions, group)
    assert distances == pytest.approx([wasserstein_distance(x @ v, y @ v) for v in directions], rel=1e-12)
    for i in range(4):
        for means, rows in ((without, group != i), (within, group == i)):
            assert means[i] == pytest.approx(sliced_distances(x[rows], y[rows], directions).mean(), rel=1e-12)


def test_sliced_wasserstein_of_few_samples(plane: Maker) -> None:
    samples = plane().samples["fresh"]
    assert [only(SlicedWasserstein(), plane(samples[:n])).stderr is None for n in (2, 3, 4, 30)] == [True, True, False, False]
