"""Modes are counted and weighed as the truth has them, and what a finite sample of the truth scores is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.data.base import Density
from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.modes import NOWHERE, Modes, cells, expected_error, level, total_variation

Maker = Callable[..., Evaluation]
WITH_MODES = [name for name, member in registry.load_all("data").items() if issubclass(member, Density) and member.modes is not None]


@pytest.fixture
def eight(plane: Maker) -> Callable[[np.ndarray], dict[str, Measurement]]:
    """Measures samples against the eight Gaussians."""
    density = registry.load("data", "eight_gaussians")()
    evaluation = plane(test=density.sample(1000, np.random.default_rng(0)), density=density)

    def measure(samples: np.ndarray) -> dict[str, Measurement]:
        return {row.metric: row for row in Modes().compute(replace(evaluation, samples={"fresh": samples}))}

    return measure


def drawn(weights: np.ndarray, n: int, seed: int = 1) -> np.ndarray:
    """Samples of the eight Gaussians with other weights."""
    rng, density = np.random.default_rng(seed), registry.load("data", "eight_gaussians")()
    return np.asarray(density.modes[rng.choice(8, n, p=weights)] + density.sd * rng.standard_normal((n, 2)))


@pytest.mark.parametrize("name", WITH_MODES)
def test_true_mass_of_every_mode_and_of_none(name: str) -> None:
    density, n = registry.load("data", name)(), 100_000
    bound, outside = level(density)
    assert outside == (0 if name == "checkerboard" else pytest.approx(NOWHERE, abs=1e-5))
    k = len(density.modes)
    shares = np.bincount(cells(density.sample(n, np.random.default_rng(0)), density, bound), minlength=k + 1) / n
    truth = np.append(np.full(k, (1 - outside) / k), outside)
    assert (np.abs(shares - truth) <= 4.5 * np.sqrt(truth * (1 - truth) / n)).all()


def test_level_of_a_gaussian_in_closed_form() -> None:
    # -2 log(p / p_max) is χ² of two degrees of freedom: a share q of the mass is where p < q p_max.
    class Round(registry.load("data", "eight_gaussians")):  # type: ignore[misc]
        modes = np.zeros((1, 2))

        def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
            return rng.standard_normal((n, 2))

        def log_density(self, x: np.ndarray) -> np.ndarray:
            return -(x**2).sum(axis=1) / 2 - np.log(2 * np.pi)

    assert level(Round())[0] == pytest.approx(np.log(NOWHERE / (2 * np.pi)), abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_the_truth_scores_what_a_finite_sample_must(eight: Callable[[np.ndarray], dict[str, Measurement]], seed: int) -> None:
    rows = eight(drawn(np.full(8, 1 / 8), 10_000, seed))
    assert rows["modes_found"].value == 8 and rows["modes_found"].stderr is None
    floor = expected_error(np.append(np.full(8, 0.99 / 8), 0.01), 10_000)
    assert abs(rows["mode_weight_error"].value - floor) < 4 * rows["mode_weight_error"].stderr  # type: ignore[operator]


@pytest.mark.parametrize("missing", [1, 4, 7])
def test_missing_modes(eight: Callable[[np.ndarray], dict[str, Measurement]], missing: int) -> None:
    weights = np.append(np.zeros(missing), np.full(8 - missing, 1 / (8 - missing)))
    rows = eight(drawn(weights, 10_000))
    assert rows["modes_found"].value == 8 - missing
    # In the limit what they lack is elsewhere: one count in 100 outside either way, hence 0.99 times their share.
    row = rows["mode_weight_error"]
    assert row.value == pytest.approx(0.99 * missing / 8, abs=4 * row.stderr + 0.01)  # type: ignore[operator]


def test_half_of_its_share_makes_a_mode_found(eight: Callable[[np.ndarray], dict[str, Measurement]]) -> None:
    for held, found in ((0.6, 8), (0.4, 7)):
        weights = np.append(held / 8, np.full(7, (1 - held / 8) / 7))
        assert eight(drawn(weights, 10_000))["modes_found"].value == found


def test_samples_away_from_all_modes_belong_to_none(eight: Callable[[np.ndarray], dict[str, Measurement]]) -> None:
    rows = eight(np.random.default_rng(0).standard_normal((500, 2)) / 10)
    assert rows["modes_found"].value == 0
    assert rows["mode_weight_error"].value == pytest.approx(0.99, abs=1e-5)
    stray = drawn(np.full(8, 1 / 8), 10_000)
    stray[:2000] = 100.0
    assert eight(stray)["mode_weight_error"].value == pytest.approx(0.2 * 0.99, abs=0.01)


def test_spread_within_a_mode_does_not_matter_until_it_leaves(eight: Callable[[np.ndarray], dict[str, Measurement]]) -> None:
    density = registry.load("data", "eight_gaussians")()
    narrow = np.repeat(density.modes, 1250, axis=0)
    assert eight(narrow)["mode_weight_error"].value == pytest.approx(0.01, abs=1e-6)


@pytest.mark.parametrize("n", [7, 100, 3000])
def test_expected_error_of_the_truth_is_exact(n: int) -> None:
    truth, rng = np.array([0.5, 0.2, 0.29, 0.01]), np.random.default_rng(n)
    values = total_variation(rng.multinomial(n, truth, size=40_000) / n, truth)
    assert abs(values.mean() - expected_error(truth, n)) < 4.5 * values.std() / 200


@pytest.mark.parametrize(("tilt", "band"), [(0.0, (0.9, 1.6)), (0.5, (0.8, 1.25))])
def test_the_standard_error_is_the_spread_over_samples(
    eight: Callable[[np.ndarray], dict[str, Measurement]], tilt: float, band: tuple[float, float]
) -> None:
    weights = np.linspace(1 - tilt, 1 + tilt, 8) / 8
    rows = [eight(drawn(weights, 500, seed))["mode_weight_error"] for seed in range(60)]
    values, errors = (np.array([getattr(row, key) for row in rows]) for key in ("value", "stderr"))
    assert band[0] < errors.mean() / values.std(ddof=1) < band[1]


def test_densities_without_modes_have_no_such_number(plane: Maker, gaussian: type[Density]) -> None:
    spec = plane().spec
    assert [name for name in ("two_moons", "rings", *WITH_MODES) if Modes().applies(replace(spec, name=name))] == WITH_MODES
    assert not Modes().applies(replace(spec, kind="vectors"))
    density = gaussian()
    density.modes = None  # type: ignore[misc]
    for evaluation, reason in ((plane(density=density), "gaussian has no modes"), (plane(density=None), "the true density is unknown")):
        rows = list(Modes().compute(evaluation))
        assert {row.metric for row in rows} == set(Modes.ids) and all(reason in row.status for row in rows)
