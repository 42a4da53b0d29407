"""The densities of the plane: normalised, sampled from exactly, as accurate as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from ebmpipe import registry
from ebmpipe.data.base import Density, central_differences
from ebmpipe.data.mixtures import BlurredCurve

DENSITIES = [member for member in registry.load_all("data").values() if issubclass(member, Density)]

#: Angle of a rotation about the origin that maps the density to itself.
ROTATION = {
    "checkerboard": np.pi,
    "eight_gaussians": np.pi / 4,
    "pinwheel": 2 * np.pi / 5,
    "rings": 1.0,
    "two_moons": np.pi,
    "two_spirals": np.pi,
}

CELL, NODES, BOX = 0.5, 12, 7.0


@pytest.fixture(scope="module", params=DENSITIES, ids=lambda member: member.name)
def density(request: pytest.FixtureRequest) -> Density:
    member: type[Density] = request.param
    return member()


@pytest.fixture(scope="module")
def masses(density: Density) -> np.ndarray:
    """Mass of every square cell of side CELL in [-BOX, BOX]², by a Gauss-Legendre rule within each cell."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    corners = np.arange(-BOX, BOX, CELL)
    line = (corners[:, None] + CELL / 2 * (1 + points)).ravel()
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.exp(density.log_density(grid)).reshape(len(corners), NODES, len(corners), NODES)
    return np.asarray(np.einsum("ikjl,k,l->ij", p, weights, weights) * (CELL / 2) ** 2)


def test_log_density_is_normalised(masses: np.ndarray) -> None:
    assert masses.sum() == pytest.approx(1, abs=1e-7)


def test_samples_follow_the_density(density: Density, masses: np.ndarray) -> None:
    n = 200_000
    x = density.sample(n, np.random.default_rng(1))
    assert x.shape == (n, 2) and x.dtype == np.float64
    edges = np.arange(-BOX, BOX + CELL / 2, CELL)
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=[edges, edges])[0].ravel()
    expected = n * masses.ravel()
    common = expected > 10
    counts = np.append(counts[common], n - counts[common].sum())  # every other place, inside the box or out, is one cell
    expected = np.append(expected[common], n - expected[common].sum())
    counts, expected = counts[expected > 10], expected[expected > 10]
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert 1e-4 < chi2.sf(statistic, len(expected) - 1) < 1 - 1e-4


def test_entropy_agrees_with_monte_carlo(density: Density) -> None:
    log_p = density.log_density(density.sample(50_000, np.random.default_rng(2)))
    error = abs(density.entropy() + log_p.mean())
    assert error <= 4 * log_p.std() / np.sqrt(len(log_p)) + 1e-12


@pytest.mark.parametrize("member", [m for m in DENSITIES if m.entropy is Density.entropy], ids=lambda member: member.name)
def test_entropy_does_not_depend_on_its_grid(member: type[Density]) -> None:
    coarser = type("Coarser", (member,), {"step": 1.25 * member.step, "reach": member.reach + 1})
    assert coarser().entropy() == pytest.approx(member().entropy(), abs=1e-6)


def test_entropies_known_in_closed_form() -> None:
    assert registry.load("data", "eight_gaussians")().entropy() == pytest.approx(2.832, abs=1e-3)
    assert registry.load("data", "checkerboard")().entropy() == pytest.approx(np.log(32), abs=1e-12)


@pytest.mark.parametrize("member", [m for m in DENSITIES if issubclass(m, BlurredCurve)], ids=lambda member: member.name)
def test_error_of_a_curve_is_as_stated(member: type[BlurredCurve]) -> None:
    density = member()
    finer = type("Finer", (member,), {"panels": 4 * member.panels})()
    line = np.linspace(-5, 5, 101)
    x = np.concatenate([np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2), density.sample(2_000, np.random.default_rng(3))])
    reference = finer.log_density(x)
    relevant = reference > reference.max() + np.log(1e-6)
    error = np.abs(density.log_density(x) - reference)
    assert error[relevant].max() <= member.log_density_error
    assert density.nodes(density.panels)[1].sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("member", [m for m in DENSITIES if issubclass(m, BlurredCurve)], ids=lambda member: member.name)
def test_quantile_inverts_the_weight(member: type[BlurredCurve]) -> None:
    curve, u = member(), np.linspace(0.05, 0.95, 19)
    slope = (curve.quantile(u + 1e-5) - curve.quantile(u - 1e-5)) / 2e-5
    np.testing.assert_allclose(curve.weight(curve.quantile(u)) * slope, 1, rtol=1e-6)
    np.testing.assert_allclose(curve.quantile(np.array([0.0, 1.0])), [curve.start, curve.stop], atol=1e-12)


@pytest.mark.parametrize("name", ROTATION)
def test_symmetry(name: str) -> None:
    density = registry.load("data", name)()
    x = np.random.default_rng(4).uniform(-4.4, 4.4, (2_000, 2))
    cos, sin = np.cos(ROTATION[name]), np.sin(ROTATION[name])
    turned = x @ np.array([[cos, sin], [-sin, cos]])
    np.testing.assert_allclose(density.log_density(turned), density.log_density(x), rtol=1e-7)


@pytest.mark.parametrize("member", [m for m in DENSITIES if m.modes is not None], ids=lambda member: member.name)
def test_every_mode_holds_its_share(member: type[Density]) -> None:
    n, modes = 100_000, np.asarray(member.modes)
    x, k = member().sample(n, np.random.default_rng(5)), len(modes)
    nearest, log_p = ((x[:, None] - modes) ** 2).sum(axis=2).argmin(axis=1), member().log_density(x)
    for part in (nearest, nearest[log_p >= np.quantile(log_p, 0.3)]):
        share = np.bincount(part, minlength=k) / len(part)
        assert np.abs(share - 1 / k).max() < 4.5 * np.sqrt((1 / k) * (1 - 1 / k) / len(part))


@pytest.mark.parametrize("member", [m for m in DENSITIES if not m.edges], ids=lambda member: member.name)
def test_score_is_the_gradient_of_the_log_density(member: type[Density]) -> None:
    density, rng = member(), np.random.default_rng(7)
    # Where the data are, between and around them, and about the centre, where some forms divide by the radius.
    x = np.concatenate([density.sample(1_000, rng), rng.uniform(-5, 5, (1_000, 2)), 0.01 * rng.standard_normal((50, 2))])
    score = density.score(x)
    differences = central_differences(density.log_density, x)
    relevant = np.exp(density.log_density(x)) > 1e-12
    error = np.abs(score - differences).max(axis=1) / (1 + np.linalg.norm(score, axis=1))
    assert error[relevant].max() < 1e-7
    assert np.isfinite(density.score(np.array([[9.0, -12.0], [0.0, 0.0]]))).all()
    assert density.score(np.zeros((0, 2))).shape == (0, 2)
    np.testing.assert_allclose(density.score(x[:9].astype(np.float32)), density.score(x[:9].astype(np.float32).astype(np.float64)))


@pytest.mark.parametrize("member", [m for m in DENSITIES if not m.edges], ids=lambda member: member.name)
def test_scores_follow_steins_identity(member: type[Density]) -> None:
    # E s(x) = 0 and E s(x) xᵀ = -I: what no gradient of another density fulfils.
    density = member()
    x = density.sample(50_000, np.random.default_rng(8))
    score = density.score(x)
    terms = np.concatenate([score, (score[:, :, None] * x[:, None] + np.eye(2)).reshape(-1, 4)], axis=1)
    assert (np.abs(terms.mean(axis=0)) < 4.5 * terms.std(axis=0) / np.sqrt(len(x))).all()


def test_differences_stand_in_where_there_is_no_closed_form() -> None:
    # The default of `Density.score`, against closed forms, where neighbouring rings meet in a kink a hundredth wide.
    for name in ("rings", "pinwheel", "two_spirals"):
        density = registry.load("data", name)()
        x = density.sample(2_000, np.random.default_rng(9))
        x = np.concatenate([x, x + 0.5 * np.random.default_rng(10).standard_normal(x.shape)])
        x = x[density.log_density(x) > -30]
        error = np.abs(Density.score(density, x) - density.score(x)).max(axis=1)
        assert (error / (1 + np.linalg.norm(density.score(x), axis=1))).max() < 1e-6


def test_a_density_with_edges_has_no_score() -> None:
    board = registry.load("data", "checkerboard")()
    with pytest.raises(ValueError, match="checkerboard has edges"):
        board.score(board.modes)


def test_scale_suits_common_settings(density: Density) -> None:
    x = density.sample(50_000, np.random.default_rng(6))
    assert 1 < x.std() < 2.5
    assert np.quantile(np.abs(x), 0.9999) < 4.5


def test_log_density_far_away_and_of_other_inputs(density: Density) -> None:
    far = density.log_density(np.array([[30.0, -40.0], [200.0, 0.0]]))
    assert np.all(far < -500) and not np.isnan(far).any()
    assert density.log_density(np.zeros((0, 2))).shape == (0,)
    single = density.log_density(np.array([[1.5, 1.0]], dtype=np.float32))
    assert single.dtype == np.float64
    assert single == pytest.approx(density.log_density(np.array([[1.5, 1.0]])))


@pytest.mark.parametrize("member", [m for m in DENSITIES if m.name != "checkerboard"], ids=lambda member: member.name)
def test_reach_holds_the_mass(member: type[Density]) -> None:
    along = np.linspace(-member.reach, member.reach, 400)
    edge = np.full_like(along, member.reach)
    sides = [np.stack(pair, axis=1) for pair in ((along, edge), (along, -edge), (edge, along), (-edge, along))]
    assert np.exp(member().log_density(np.concatenate(sides))).max() < 1e-10
