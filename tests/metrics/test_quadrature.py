"""log Z, likelihoods and divergences against closed forms; improper densities refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, NotAvailable
from ebmpipe.metrics.estimators.hints import Hints
from ebmpipe.metrics.quadrature import FixedGrid, Quadrature, box_about, density_grid, log_partition

Maker = Callable[..., Evaluation]
TWO_PI = 2 * np.pi


def rows(evaluation: Evaluation) -> dict[str, Measurement]:
    return {row.metric: row for row in Quadrature().compute(evaluation)}


def bump(x: np.ndarray, centre: Any = (0.0, 0.0), sd: float = 1.0) -> np.ndarray:
    """exp of it integrates to 2 π sd²."""
    return -((x - np.asarray(centre)) ** 2).sum(axis=1) / (2 * sd**2)


@pytest.mark.parametrize("sd", [1e-3, 0.01, 0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (3.1, -0.7), (7.0, 4.0)])
def test_gaussian(sd: float, centre: tuple[float, float]) -> None:
    at = np.array([centre])
    log_z, info = log_partition(lambda x: bump(x, centre, sd), half_width=4, hints=Hints(at, bump(at, centre, sd)))
    assert log_z == pytest.approx(np.log(TWO_PI * sd**2), abs=1e-5)
    assert info.moved_by_refinement < 1e-4
    assert info.moved_by_widening < 1e-4


def test_tilt_moves_the_mass_away_from_the_box() -> None:
    log_z, _ = log_partition(lambda x: bump(x, sd=1.5) + x @ [9.0, -4.0], half_width=3)
    assert log_z == pytest.approx(np.log(TWO_PI * 1.5**2) + (81 + 16) * 1.5**2 / 2, abs=1e-6)


def test_correlated_gaussian() -> None:
    precision = np.array([[2.0, 1.9], [1.9, 2.0]])
    log_z, _ = log_partition(lambda x: -np.einsum("ni,ij,nj->n", x, precision, x) / 2)
    assert log_z == pytest.approx(np.log(TWO_PI) - np.log(np.linalg.det(precision)) / 2, abs=1e-6)


def test_constants_shift_log_z_without_overflow() -> None:
    for constant in (-1e5, 1e5):
        log_z, _ = log_partition(lambda x, c=constant: bump(x) + c)  # type: ignore[misc]
        assert log_z - constant == pytest.approx(np.log(TWO_PI), abs=1e-6)


def spikes(x: np.ndarray, sd: float) -> np.ndarray:
    """Half of the mass in four narrow Gaussians, half in a wide one; integrates to 1."""
    wide = bump(x, sd=3.0) - np.log(TWO_PI * 9.0)
    narrow = [bump(x, c, sd) - np.log(TWO_PI * sd**2) for c in ((2, 0), (0, 2), (-2, 0), (0.3, -1.1))]
    return np.logaddexp(wide, np.logaddexp.reduce(narrow) - np.log(4)) - np.log(2)


def test_mixture_is_refined_where_it_is_narrow() -> None:
    smooth = log_partition(lambda x: spikes(x, 1.0), half_width=4)
    log_z, info = log_partition(lambda x: spikes(x, 0.02), half_width=4)
    assert smooth[0] == pytest.approx(0, abs=1e-8)
    assert log_z == pytest.approx(0, abs=1e-5)
    assert smooth[1].nodes < info.nodes < 400_000
    # The nodes that remain are those of the sum, each once.
    for result, grid in ((smooth[0], smooth[1].grid), (log_z, info.grid)):
        assert np.logaddexp.reduce(grid.log_weights + grid.values) == pytest.approx(result, abs=1e-9)
        assert len(grid.values) < info.nodes


@pytest.mark.parametrize("seed", range(6, 12))
def test_mixtures_of_every_width_at_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 30))
    centres, sds, weights = 2 * rng.standard_normal((k, 2)), 10 ** rng.uniform(-3.5, 0.5, k), rng.dirichlet(np.full(k, 0.5))
    drawn = rng.choice(k, 3000, p=weights)
    samples = centres[drawn] + sds[drawn, None] * rng.standard_normal((3000, 2))

    def density(x: np.ndarray) -> np.ndarray:
        parts = [bump(x, c, s) - np.log(TWO_PI * s**2) + np.log(w) for c, s, w in zip(centres, sds, weights, strict=True) if w > 0]
        return np.asarray(np.logaddexp.reduce(parts))

    log_z, info = log_partition(density, hints=Hints(samples, density(samples)))
    # Components that are narrow and so light that no sample hints at them may be missed.
    assert log_z == pytest.approx(0, abs=1e-4)
    assert info.moved_by_refinement < 1e-4


def test_hints_reveal_spikes_between_the_nodes() -> None:
    sd, rng = 2e-4, np.random.default_rng(0)
    points = np.concatenate([c + sd * rng.standard_normal((20, 2)) for c in ((2, 0), (0, 2), (-2, 0), (0.3, -1.1))])
    blind, _ = log_partition(lambda x: spikes(x, sd), half_width=4)
    seeing, _ = log_partition(lambda x: spikes(x, sd), half_width=4, hints=Hints(points, spikes(points, sd)))
    assert blind == pytest.approx(np.log(0.5), abs=1e-3), "the test is too easy"
    assert seeing == pytest.approx(0, abs=1e-5)


def test_a_peak_on_the_border_of_cells_is_seen_from_every_side() -> None:
    # The corner of four cells in the middle of the box, and only one of them holds the hint.
    at = np.array([[1e-6, 1e-6]])

    def density(x: np.ndarray) -> np.ndarray:
        return np.logaddexp(bump(x, sd=2.0) - np.log(4), bump(x, sd=1e-4) - np.log(1e-8))

    log_z, _ = log_partition(density, half_width=4, hints=Hints(at, density(at)))
    assert log_z == pytest.approx(np.log(2 * TWO_PI), abs=1e-5)


def test_kinks() -> None:
    log_z, _ = log_partition(lambda x: -np.abs(x - 0.123).sum(axis=1))
    assert log_z == pytest.approx(np.log(4), abs=1e-4)


def test_polynomial_tail_needs_a_wide_box() -> None:
    log_z, info = log_partition(lambda x: -1.5 * np.log1p((x**2).sum(axis=1)))
    assert log_z == pytest.approx(np.log(TWO_PI), abs=1e-4)
    assert info.half_width > 1e4


@pytest.mark.parametrize(
    "improper",
    [
        pytest.param(lambda x: np.zeros(len(x)), id="flat"),
        pytest.param(lambda x: (x**2).sum(axis=1), id="growing"),
        pytest.param(lambda x: x[:, 0], id="linear"),
        pytest.param(lambda x: -np.log1p((x**2).sum(axis=1)), id="inverse square"),
        pytest.param(lambda x: -(x[:, 0] ** 2) / 2, id="ridge"),
        pytest.param(lambda x: -((x @ [0.8, 0.6] - 1.7) ** 2) / 0.2, id="oblique ridge"),
        pytest.param(lambda x: -np.abs(x @ [0.96, 0.28]) - np.logaddexp(0, -x @ [-0.28, 0.96]), id="half a ridge"),
    ],
)
def test_improper_densities_are_refused(improper: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(NotAvailable, match="quadrature did not converge"):
        log_partition(improper, half_width=4)


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "not finite"), (np.inf, "not finite"), (-np.inf, "zero everywhere")])
def test_values_that_no_density_has_are_refused(value: float, reason: str) -> None:
    with pytest.raises(NotAvailable, match=reason):
        log_partition(lambda x: np.full(len(x), value))


def test_too_rough_a_density_is_refused() -> None:
    with pytest.raises(NotAvailable, match="do not resolve"):
        log_partition(lambda x: bump(x) + np.sin(1e5 * x).sum(axis=1), max_evaluations=300_000)


def test_senseless_box_is_refused() -> None:
    with pytest.raises(ValueError, match="no box"):
        log_partition(bump, half_width=0)


def test_energy_is_called_in_chunks() -> None:
    sizes = []

    def counting(x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return bump(x)

    _, info = log_partition(counting)
    assert max(sizes) <= 65_536
    assert info.nodes <= sum(sizes) < 200_000


def test_nll_and_gap_of_the_truth(plane: Maker) -> None:
    evaluation = plane(log_unnormalised=lambda x: plane().density.log_density(x) + 5)
    found = rows(evaluation)
    assert found["log_z"].value == pytest.approx(5, abs=1e-6)
    nll, gap = found["nll"], found["nll_gap"]
    assert nll.value == pytest.approx(-evaluation.density.log_density(evaluation.test).mean(), abs=1e-6)
    assert nll.stderr is not None
    assert abs(nll.value - evaluation.spec.entropy) < 4 * nll.stderr
    assert gap.value == pytest.approx(0, abs=1e-6)
    assert nll.n == gap.n == len(evaluation.test)


@pytest.mark.parametrize("name", ["checkerboard", "eight_gaussians", "pinwheel", "rings"])
def test_known_densities_integrate_to_one(plane: Maker, name: str) -> None:
    density = registry.load("data", name)()
    test = density.sample(2000, np.random.default_rng(0)).astype(np.float32).astype(np.float64)
    evaluation = plane(test=test, density=density, log_unnormalised=density.log_density, samples={})
    found = rows(evaluation)
    assert found["log_z"].value == pytest.approx(0, abs=1e-5)
    assert found["nll_gap"].value == pytest.approx(0, abs=1e-5)
    assert abs(found["nll"].value - density.entropy()) <= 4 * found["nll"].stderr + 1e-6


def test_box_holds_the_points_and_has_round_borders() -> None:
    points = np.array([[-3.9, 1.0], [4.0, 1.3], [0.1, 6.0]])
    centre, half_width = box_about(points)
    assert (np.abs(points - centre) < 0.85 * half_width).all()
    assert half_width == 8
    assert np.array_equal(centre, np.round(centre))


def test_gap_is_the_divergence_between_gaussians(plane: Maker, gaussian: Any) -> None:
    true, model = gaussian(), gaussian(mean=(0.2, -0.4), sd=1.1)
    evaluation = plane(n=20_000, log_unnormalised=lambda x: 3 * np.ones(len(x)) + model.log_density(x))
    ratio = true.sd**2 / model.sd**2
    divergence = ratio - 1 - np.log(ratio) + ((true.mean - model.mean) ** 2).sum() / (2 * model.sd**2)
    gap = rows(evaluation)["nll_gap"]
    assert abs(gap.value - divergence) < 4 * gap.stderr


def test_pairing_makes_the_gap_of_a_good_model_sharper_than_its_nll(plane: Maker, gaussian: Any) -> None:
    found = rows(plane(log_unnormalised=gaussian(sd=0.72).log_density))
    assert found["nll_gap"].stderr < found["nll"].stderr / 5


def test_gap_and_nll_that_do_not_exist_say_why(plane: Maker) -> None:
    found = rows(plane(density=None))
    assert found["nll_gap"].status == "not available: the true density is unknown"
    assert found["nll"].status == "ok"
    with pytest.raises(NotAvailable, match="the run has no energy"):
        rows(plane(log_unnormalised=None))


def test_zero_density_at_test_points_is_no_likelihood(plane: Maker) -> None:
    def on_a_disc(x: np.ndarray) -> np.ndarray:
        inside = 1 - ((x - (0.5, -1.0)) ** 2).sum(axis=1)
        return np.where(inside > 0, -1 / np.maximum(inside, 1e-300), -np.inf)

    found = rows(plane(log_unnormalised=on_a_disc))
    assert found["log_z"].status == "ok"
    assert found["nll"].value is found["nll_gap"].value is None
    assert found["nll"].status.startswith("not available: the model gives zero density to")


def test_density_grid_is_normalised_and_runs_along_y() -> None:
    log_z, _ = log_partition(lambda x: bump(x, (1.0, -0.5)))
    x, y, log_p = density_grid(lambda p: bump(p, (1.0, -0.5)), log_z, (-5, 7, -6, 5), n=150)
    assert x.shape == y.shape == (150,)
    assert log_p.shape == (150, 150)
    assert np.exp(log_p).sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1, abs=1e-6)
    row, column = np.unravel_index(log_p.argmax(), log_p.shape)
    assert (x[column], y[row]) == pytest.approx((1.0, -0.5), abs=0.05)


@pytest.mark.parametrize("sd", [0.1, 0.3, 1.0, 4.0])
def test_a_fixed_grid_is_exact_of_what_is_smooth_on_its_cells_and_within_its_rings(sd: float) -> None:
    grid = FixedGrid(np.array([0.5, -1.0]), 4.0)
    found = grid.log_partition(lambda x: bump(x, (0.9, -0.3), sd) + 1e4)
    # Of a Gaussian of deviation 4, what lies beyond ±16 of the centre is a ten-thousandth.
    assert found - 1e4 == pytest.approx(np.log(TWO_PI * sd**2), abs=2e-4)


def test_its_cells_cover_box_and_rings_once() -> None:
    grid = FixedGrid(np.array([0.5, -1.0]), 4.0, per_side=24, rings=3)
    assert grid.log_partition(lambda x: np.zeros(len(x))) == pytest.approx(np.log((2 * 4.0 * 2**3) ** 2), abs=1e-12)
    assert len(grid.nodes) == 64 * (24**2 + 3 * (12**2 - 6**2))
    with pytest.raises(ValueError, match="a multiple of eight"):
        FixedGrid(np.zeros(2), 1.0, per_side=12)


@pytest.mark.parametrize("name", ["eight_gaussians", "two_moons", "pinwheel", "rings", "checkerboard", "two_spirals", "swiss_roll"])
def test_a_fixed_grid_resolves_the_densities_that_models_learn(name: str) -> None:
    density = registry.load("data", name)()
    box = box_about(density.sample(2000, np.random.default_rng(0)))
    assert FixedGrid(*box).log_partition(density.log_density) == pytest.approx(0, abs=1e-3)


def test_a_fixed_grid_refuses_what_is_no_density() -> None:
    grid = FixedGrid(np.zeros(2), 1.0)
    assert grid.log_partition(lambda x: np.full(len(x), -np.inf)) == -np.inf
    with pytest.raises(NotAvailable, match="the energy is not finite"):
        grid.log_partition(lambda x: np.where(x[:, 0] > 1, np.nan, 0.0))
