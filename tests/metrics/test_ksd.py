"""The kernel Stein discrepancy against closed forms and autograd; what it sees, and what it cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.data.base import Density
from ebmpipe.data.mixtures import log_mixture, mixture_score
from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.energy_distance import EnergyDistance
from ebmpipe.metrics.estimators.stein import squared_ksd, stein_kernel
from ebmpipe.metrics.ksd import KSD, SCALE, kernel_scale
from ebmpipe.metrics.model_ksd import ModelKSD

Maker = Callable[..., Evaluation]


def mean_over_chi2(function: Callable[[np.ndarray], np.ndarray], d: int) -> float:
    """E f(‖v‖²) for v ~ N(0, I) in d dimensions, by quadrature."""
    from scipy.integrate import quad
    from scipy.stats import chi2

    return float(quad(lambda s: function(s) * chi2.pdf(s, d), 0, np.inf, limit=200)[0])


def shifted(shift: float, d: int, scale: float) -> float:
    """KSD² of N(a, I), ‖a‖ = shift, from N(0, I): the scores differ by a everywhere, and x - x' = √2 v."""
    return shift**2 * mean_over_chi2(lambda s: (1 + 2 * s / scale**2) ** -0.5, d)


def widened(sd: float, d: int, scale: float) -> float:
    """KSD² of N(0, sd² I) from N(0, I): the scores differ by (sd⁻² - 1) x, x - x' = √2 v, x·x' = (‖u‖² - ‖v‖²)/2, u independent of v."""
    return (sd**-2 - 1) ** 2 * mean_over_chi2(lambda s: sd**2 * (d - s) / 2 * (1 + 2 * sd**2 * s / scale**2) ** -0.5, d)


def test_stein_kernel_is_what_autograd_makes_of_its_definition() -> None:
    torch = pytest.importorskip("torch")
    rng, scale, d = np.random.default_rng(0), 0.7, 3
    x, y, s, t = rng.standard_normal((4, 5, d))
    ours = stein_kernel(scale)(np.concatenate([x, s], axis=1), np.concatenate([y, t], axis=1))

    def k(a: Any, b: Any) -> Any:
        return (1 + (a - b).square().sum() / scale**2) ** -0.5

    for i in range(5):
        for j in range(5):
            a, b, sa, tb = (torch.from_numpy(v) for v in (x[i], y[j], s[i], t[j]))
            by_a, by_b = (torch.func.grad(k, argnums=n)(a, b) for n in (0, 1))
            trace = torch.func.jacrev(torch.func.grad(k, argnums=0), argnums=1)(a, b).trace()
            assert ours[i, j] == pytest.approx(float(sa @ tb * k(a, b) + sa @ by_b + tb @ by_a + trace), rel=1e-10)


@pytest.mark.parametrize("d", [1, 2, 10, 64])
def test_zero_at_the_truth(d: int) -> None:
    found = []
    for seed in range(8):
        x = 3 + 0.5 * np.random.default_rng(seed).standard_normal((600, d))
        found.append(squared_ksd(x, (3 - x) / 0.25, 0.4))
    values, errors = np.array(found).T
    assert (np.abs(values) < 4 * errors).all()
    assert abs(values.mean()) < 4 * np.sqrt((errors**2).sum()) / len(values)


@pytest.mark.parametrize("d", [1, 2, 10])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_of_gaussians_in_closed_form(d: int, scale: float) -> None:
    z = np.random.default_rng(d).standard_normal((3000, d))
    moved = z + 0.4 / np.sqrt(d)
    for x, expected in ((moved, shifted(0.4, d, scale)), (1.3 * z, widened(1.3, d, scale))):
        value, error = squared_ksd(x, -x, scale)
        assert abs(value - expected) < 4 * error
        assert expected > 4 * error


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_standard_error_is_the_spread_over_samples(shift: float) -> None:
    found = []
    for seed in range(150):
        x = shift + np.random.default_rng(seed).standard_normal((200, 2))
        found.append(squared_ksd(x, -x, 0.5))
    values, errors = np.array(found).T
    assert 0.75 < errors.mean() / values.std(ddof=1) < 1.3


def test_it_grows_with_the_shift_and_not_with_the_order() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((800, 2))
    found = [squared_ksd(z + shift, -(z + shift), 0.5)[0] for shift in (0.0, 0.2, 0.5, 1.0, 2.0)]
    assert found == sorted(found) and found[1] > 0
    order = rng.permutation(len(z))
    assert squared_ksd(z[order], -z[order], 0.5) == pytest.approx(squared_ksd(z, -z, 0.5), rel=1e-9)


def test_it_scales_as_the_square_of_the_score() -> None:
    x = 0.3 + np.random.default_rng(0).standard_normal((300, 3))
    assert squared_ksd(10 * x, -x / 10, 5.0) == pytest.approx(np.array(squared_ksd(x, -x, 0.5)) / 100, rel=1e-9)


def test_it_does_not_depend_on_where_the_data_lie() -> None:
    x = 0.3 + np.random.default_rng(0).standard_normal((300, 3))
    assert squared_ksd(x + 1e6, -x, 0.5) == pytest.approx(squared_ksd(x, -x, 0.5), rel=1e-6)


def test_it_is_blind_to_the_weights_of_modes_far_apart(plane: Maker) -> None:
    # Between far modes there is no mass where the scores of 50 : 50 and 90 : 10 could differ.
    centres, sd = np.array([[-8.0, 0.0], [8.0, 0.0]]), 1.0
    rng = np.random.default_rng(0)

    def drawn(weight: float, n: int = 2000) -> np.ndarray:
        return centres[(rng.random(n) < weight).astype(int)] + sd * rng.standard_normal((n, 2))

    wrong, right = drawn(0.9), drawn(0.5)
    for scale in (0.5, 8.0):
        value, error = squared_ksd(wrong, mixture_score(wrong, centres, np.array([0.5, 0.5]), sd), scale)
        assert abs(value) < 4 * error
    (told,) = EnergyDistance().compute(plane(wrong, test=right))
    assert told.value is not None and told.stderr is not None and told.value > 10 * told.stderr


# The families


def only(evaluation: Evaluation) -> Measurement:
    (row,) = KSD().compute(evaluation)
    return row


@pytest.mark.parametrize("seed", range(3))
def test_samples_of_the_truth_and_others(plane: Maker, seed: int) -> None:
    density = plane().density
    assert density is not None
    samples = density.sample(1000, np.random.default_rng(seed + 10))
    same, moved = (only(plane(samples + shift, seed)) for shift in (0.0, 0.4))
    assert same.value is not None and moved.value is not None and same.stderr is not None and moved.stderr is not None
    assert abs(same.value) < 4 * same.stderr
    assert moved.value > 4 * moved.stderr
    scale = kernel_scale(plane().test)
    assert abs(moved.value - shifted(0.4 * np.sqrt(2) / 0.7, 2, scale / 0.7) / 0.7**2) < 4 * moved.stderr


@pytest.mark.parametrize("name", [name for name, member in registry.load_all("data").items() if issubclass(member, Density)])
def test_every_density_is_at_zero_from_itself_or_says_why_not(plane: Maker, name: str) -> None:
    density = registry.load("data", name)()
    test, samples = (density.sample(2000, np.random.default_rng(seed)) for seed in (1, 2))
    evaluation = plane(samples, test=test, density=density)
    row = only(replace(evaluation, spec=replace(evaluation.spec, name=name)))
    if name == "checkerboard":
        assert row.status == "not available: the density of checkerboard has edges, and its score says nothing about jumps"
    else:
        assert row.value is not None and row.stderr is not None and abs(row.value) < 4 * row.stderr
        blurred = only(plane(samples + 0.2 * np.random.default_rng(3).standard_normal(samples.shape), test=test, density=density))
        assert blurred.value is not None and blurred.stderr is not None and blurred.value > 3 * blurred.stderr


def test_a_factor_of_the_density_changes_nothing(plane: Maker, gaussian: type[Density]) -> None:
    class Unnormalised(gaussian):  # type: ignore[misc, valid-type]
        def log_density(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(super().log_density(x) + 3.0)

    assert only(plane(density=Unnormalised())).value == pytest.approx(only(plane()).value, rel=1e-6)


def test_without_a_known_density(plane: Maker) -> None:
    assert only(plane(density=None)).status == "not available: the true density is unknown"


def test_the_scale_is_of_the_test_data_alone(plane: Maker) -> None:
    x = np.random.default_rng(0).standard_normal((5000, 2))
    assert kernel_scale(x) == pytest.approx(SCALE * np.sqrt(2 * 2 * np.log(2)), rel=0.05)
    assert only(plane(test=np.ones((50, 2)))).status == "not available: the test examples are all alike"


def scored(evaluation: Evaluation, score: Callable[[np.ndarray], np.ndarray] | None, **fields: Any) -> Measurement:
    (row,) = ModelKSD().compute(replace(evaluation, score=score, **fields))
    return row


def test_of_the_model_there_is_no_row_without_a_score(plane: Maker, pictures: Maker) -> None:
    for evaluation in (plane(), pictures()):
        assert not list(ModelKSD().compute(evaluation))
        assert not list(ModelKSD().unavailable("why", evaluation))


@pytest.mark.parametrize("shape", [(2,), (1, 4, 5)])
def test_data_from_the_model_and_from_another(plane: Maker, pictures: Maker, shape: tuple[int, ...]) -> None:
    make = plane if shape == (2,) else pictures
    test = 0.5 * np.random.default_rng(0).standard_normal((1500, *shape))
    right, wrong = (scored(make(), lambda x, m=mean: (m - x) / 0.25, test=test) for mean in (0.0, 0.2))
    assert right.metric == wrong.metric == "ksd@model" and right.n == 1500 and right.unit == KSD.ids["ksd"].unit
    assert right.value is not None and right.stderr is not None and abs(right.value) < 4 * right.stderr
    assert wrong.value is not None and wrong.stderr is not None and wrong.value > 4 * wrong.stderr


def test_a_model_without_an_honest_score_says_why(pictures: Maker) -> None:
    nan = scored(pictures(), lambda x: np.where(np.arange(len(x))[:, None, None, None] < 2, np.nan, -x))
    assert (nan.metric, nan.status) == ("ksd@model", "not available: the model's score is not finite at 2 of 300 test examples")

    def box(x: np.ndarray) -> np.ndarray:
        return np.where((np.abs(x) > 1).reshape(len(x), -1).any(axis=1), -np.inf, 0.0)

    boxed = scored(pictures(log_unnormalised=box), np.negative)
    assert boxed.status == "not available: the model lives on a box: Stein's identity asks for a density that vanishes at its border"
    with pytest.raises(ValueError, match="shape of its points"):
        scored(pictures(), lambda x: x[..., 0])


def test_mixtures_know_their_own_gradient() -> None:
    x = np.random.default_rng(0).standard_normal((20, 2))
    centres, weights, h = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), np.array([0.2, 0.5, 0.3]), 1e-5
    for i in range(2):
        step = h * np.eye(2)[i]
        slope = (log_mixture(x + step, centres, weights, 0.6) - log_mixture(x - step, centres, weights, 0.6)) / (2 * h)
        assert mixture_score(x, centres, weights, 0.6)[:, i] == pytest.approx(slope, abs=1e-8)
