"""Exact samples of a density on the plane by rejection."""

from __future__ import annotations

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.data.base import Density
from ebmpipe.metrics.estimators import rejection
from ebmpipe.metrics.estimators.distances import squared_distances
from ebmpipe.metrics.estimators.rejection import Envelope, NotEnclosed, envelope_of

N = 20_000


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "CELLS", 200)


def ring(x: np.ndarray) -> np.ndarray:
    return np.asarray(-((np.hypot(*x.T) - 2) ** 2) / (2 * 0.2**2))


def test_moments_of_a_tilted_gaussian() -> None:
    mean, covariance = np.array([0.7, -0.4]), np.array([[0.5, 0.3], [0.3, 0.8]])
    inverse = np.linalg.inv(covariance)

    def log_density(x: np.ndarray) -> np.ndarray:
        return np.asarray(-((x - mean) @ inverse * (x - mean)).sum(axis=1) / 2 + 5.0)

    log_z = 5.0 + np.log(2 * np.pi) + np.log(np.linalg.det(covariance)) / 2
    x = envelope_of(log_density, 6.0, log_z).sample(N, np.random.default_rng(0))
    assert x.shape == (N, 2)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 * np.sqrt(0.8 / N))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.03)


@pytest.mark.parametrize("name", ["eight_gaussians", "two_moons"])
def test_it_draws_what_the_density_draws(name: str) -> None:
    """Mean distances between and within both samples agree."""
    density: Density = registry.load("data", name)()
    x = envelope_of(density.log_density, density.reach, 0.0).sample(2000, np.random.default_rng(1))
    y, other = (density.sample(2000, np.random.default_rng(seed)) for seed in (2, 3))
    between, reference = (2 * np.sqrt(squared_distances(a, y)).mean() - np.sqrt(squared_distances(a, a)).mean() for a in (x, other))
    assert between == pytest.approx(reference, abs=0.05)


def test_the_envelope_is_nowhere_below_the_density() -> None:
    found = Envelope(ring, 3.0)
    points = np.random.default_rng(0).uniform(-3, 3, (50_000, 2))
    column, row = (np.minimum(((points + 3) / found.side).astype(int), rejection.CELLS - 1)).T
    assert (ring(points) <= found.highest[row * rejection.CELLS + column] + rejection.MARGIN).all()


def test_an_envelope_that_is_too_low_is_raised_until_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "MARGIN", 1e-9)
    assert Envelope(ring, 3.0).sample(1000, np.random.default_rng(0)).shape == (1000, 2)
    monkeypatch.setattr(rejection, "HIGHEST", 2e-9)
    with pytest.raises(NotEnclosed, match="varies too much"):
        Envelope(ring, 3.0).sample(N, np.random.default_rng(0))


def test_a_square_that_is_too_small_is_widened_and_one_that_never_holds_it_is_told() -> None:
    def wide(x: np.ndarray) -> np.ndarray:
        return np.asarray(-(x**2).sum(axis=1) / 2 - np.log(2 * np.pi))

    assert -envelope_of(wide, 1.5, 0.0).low > 3
    with pytest.raises(NotEnclosed, match="does not hold the density"):
        envelope_of(wide, 1.5, 1.0)
