"""The temperature that suits an energy best: closed forms on Gaussians, invariance under scale, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ebmpipe.metrics.base import Evaluation, Measurement, NotAvailable
from ebmpipe.metrics.quadrature import Quadrature
from ebmpipe.metrics.temperature import BestTemperature

Maker = Callable[..., Evaluation]
N = 2000


def rows(evaluation: Evaluation) -> dict[str, Measurement]:
    return {row.metric: row for row in BestTemperature().compute(evaluation)}


def nll_of(evaluation: Evaluation) -> float:
    found = next(row for row in Quadrature().compute(evaluation) if row.metric == "nll")
    assert found.value is not None
    return found.value


def normal(plane: Maker, sd: float, stiffness: float) -> Evaluation:
    """Data N(0, sd² I) and the energy stiffness·|x|²/2."""
    rng = np.random.default_rng(0)
    test, validation = (sd * rng.standard_normal((N, 2)) for _ in range(2))
    return plane(test=test, validation=validation, samples={}, log_unnormalised=lambda x: -stiffness * (x**2).sum(axis=1) / 2)


def scaled(evaluation: Evaluation, factor: float, shift: float = 0.0) -> Evaluation:
    """The same with the energy multiplied and a constant added."""
    energy = evaluation.log_unnormalised
    assert energy is not None
    return replace(evaluation, log_unnormalised=lambda x: factor * energy(x) + shift, cache={})


def two_modes(x: np.ndarray) -> np.ndarray:
    """No Gaussian: modes of different width, so that temperature moves mass between them."""
    parts = [-((x - c) ** 2).sum(axis=1) / (2 * s**2) for c, s in (((0.5, -1.0), 0.6), ((1.4, 0.3), 0.3))]
    return np.asarray(np.logaddexp(*parts))


@pytest.mark.parametrize(("sd", "stiffness"), [(1.0, 1.0), (0.7, 0.02), (0.1, 3000.0), (20.0, 5.0)])
def test_of_a_gaussian(plane: Maker, sd: float, stiffness: float) -> None:
    """E/T has the variance T/k in each coordinate: T = k mean|x|²/2 over the validation split, whose error is that of this mean."""
    evaluation = normal(plane, sd, stiffness)
    found = rows(evaluation)
    energies = stiffness * (evaluation.validation**2).sum(axis=1) / 2
    temperature = energies.mean()
    assert found["best_temperature"].value == pytest.approx(temperature, rel=2e-3)
    assert found["best_temperature"].stderr == pytest.approx(energies.std() / np.sqrt(N), rel=1e-2)
    on_test = stiffness * (evaluation.test**2).sum(axis=1) / 2 / temperature
    nll = found["nll_best_temperature"]
    assert nll.value == pytest.approx(on_test.mean() + np.log(2 * np.pi * temperature / stiffness), abs=1e-4)
    assert nll.stderr == pytest.approx(on_test.std(ddof=1) / np.sqrt(N), rel=3e-3)
    assert nll.n == N


def test_of_modes_that_an_even_grid_does_not_resolve(plane: Maker) -> None:
    """Far apart, they are as many Gaussians: T is again the mean energy above the bottom."""
    centres, sd, rng = np.array([[-2.0, 0.1], [2.03, -0.3]]), 0.004, np.random.default_rng(0)
    chosen = centres[rng.integers(2, size=(2, N))]
    test, validation = chosen + sd * rng.standard_normal((2, N, 2))

    def energy(x: np.ndarray) -> np.ndarray:
        squares = ((x[:, None] - centres) ** 2).sum(axis=2)
        return np.asarray(-7 * squares.min(axis=1) / (2 * sd**2))

    found = rows(plane(test=test, validation=validation, samples={}, log_unnormalised=energy))
    assert found["best_temperature"].value == pytest.approx(-energy(validation).mean(), rel=2e-3)
    temperature = -energy(validation).mean()
    expected = -energy(test).mean() / temperature + np.log(2 * 2 * np.pi * sd**2 * temperature / 7)
    assert found["nll_best_temperature"].value == pytest.approx(expected, abs=1e-4)


def test_of_the_truth_is_one(plane: Maker) -> None:
    evaluation = plane(n=N)
    found = rows(evaluation)
    assert abs(found["best_temperature"].value - 1) < 5 * found["best_temperature"].stderr
    assert found["nll_best_temperature"].value == pytest.approx(nll_of(evaluation), abs=25 / N)


@pytest.mark.parametrize("energy", [two_modes, lambda x: 3 * two_modes(x), lambda x: 0.2 * two_modes(x)])
def test_is_never_worse_than_temperature_one(plane: Maker, energy: Any) -> None:
    evaluation = plane(n=N, log_unnormalised=energy)
    assert rows(evaluation)["nll_best_temperature"].value <= nll_of(evaluation) + 25 / N


def test_is_the_best(plane: Maker) -> None:
    """Among temperatures near it, on the split that it was fitted to."""
    evaluation = plane(n=N, log_unnormalised=two_modes)
    on_validation = replace(evaluation, test=evaluation.validation)
    found = rows(on_validation)
    best, nll = found["best_temperature"].value, found["nll_best_temperature"].value
    assert nll == pytest.approx(nll_of(scaled(on_validation, 1 / best)), abs=1e-4)
    for factor in (0.9, 1.1):
        assert nll_of(scaled(on_validation, 1 / (best * factor))) > nll + 1e-3


@pytest.mark.parametrize("factor", [7.0, 1e-4, 1e4])
def test_scale_of_the_energy_does_not_matter(plane: Maker, factor: float) -> None:
    """Nor does a constant: that T takes up the scale is all that changes."""
    evaluation = plane(n=N, log_unnormalised=two_modes)
    plain, changed = rows(evaluation), rows(scaled(evaluation, factor, shift=3 * factor))
    assert changed["nll_best_temperature"].value == pytest.approx(plain["nll_best_temperature"].value, abs=1e-6)
    assert changed["best_temperature"].value == pytest.approx(factor * plain["best_temperature"].value, rel=1e-6)


def test_fitted_on_validation_alone(plane: Maker) -> None:
    evaluation = normal(plane, 1.0, 1.0)
    wide = replace(evaluation, test=2 * evaluation.test)
    assert rows(wide)["best_temperature"].value == pytest.approx(rows(evaluation)["best_temperature"].value, rel=2e-3)


@pytest.mark.parametrize(
    ("energy", "reason"),
    [
        pytest.param(lambda x: np.zeros(len(x)), "the same at all validation data", id="flat"),
        pytest.param(lambda x: (x**2).sum(axis=1) / 2, "still rises at the highest one", id="upside down"),
        pytest.param(lambda x: x[:, 0], "highest one|did not converge", id="improper"),
        pytest.param(lambda x: np.where(x[:, 0] > 0.5, -np.inf, two_modes(x)), "zero density to .* validation examples", id="cut off"),
    ],
)
def test_what_has_no_best_temperature_says_why(plane: Maker, energy: Any, reason: str) -> None:
    with pytest.raises(NotAvailable, match=reason):
        rows(plane(log_unnormalised=energy))


def test_data_where_the_energy_is_lowest_want_no_temperature_at_all(plane: Maker) -> None:
    angles = np.linspace(0, 2 * np.pi, 500)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + 1e-9 * np.sin(7 * angles)[:, None])
    evaluation = plane(test=ring, validation=ring, samples={}, log_unnormalised=lambda x: -(((x**2).sum(axis=1) - 1) ** 2))
    with pytest.raises(NotAvailable, match=r"lowest one|did not converge"):
        rows(evaluation)


def test_without_energy_or_validation_data(plane: Maker) -> None:
    with pytest.raises(NotAvailable, match="no energy"):
        rows(plane(log_unnormalised=None))
    with pytest.raises(NotAvailable, match="no validation data"):
        rows(plane(validation=np.empty((0, 2))))
