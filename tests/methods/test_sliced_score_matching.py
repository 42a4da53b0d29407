"""Sliced score matching against the exact Laplacian: unbiased, with the variances of closed form; the order of finite differences."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy
from ebmpipe.methods import build
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.methods.sliced_score_matching import finite_difference_slices, plain_slices, variance_reduced_slices
from ebmpipe.spec import DataSpec

CASES = [("mlp", (1,)), ("mlp", (2,)), ("mlp", (10,)), ("mlp", (1, 3, 3)), ("conv", (1, 3, 3))]
SHAPES = [(2,), (10,), (1, 3, 3)]
NETWORKS = {"mlp": {"width": 8, "gain": 3.0}, "conv": {"widths": [4]}}
N = 4


def spec_of(shape):
    return DataSpec("made_up", "images" if len(shape) > 1 else "vectors", shape, 0.2, 0.8, None, None, None, Path())


def energy_of(name, shape):
    torch.manual_seed(0)
    network = registry.load("nets", name)
    return BasedEnergy(network(shape, network.Config.model_validate(NETWORKS[name])), spec_of(shape)).double()


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_signs(x):
    """Every vector of signs, for every example: (2^D, n, *event). Means over them are expectations over Rademacher directions."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=x[0].numel())), dtype=torch.float64)
    return signs.view(-1, 1, *x.shape[1:]).expand(-1, *x.shape)


@pytest.mark.parametrize("slices", [plain_slices, variance_reduced_slices])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_unbiased_against_the_exact_trace_as_are_its_gradients(name, shape, slices):
    """Exactly so over all Rademacher directions."""
    energy, x = energy_of(name, shape), normal(N, *shape)
    weights = list(energy.parameters())
    values = slices(energy, x, all_signs(x))
    expected = implicit_score_matching(energy, x)
    assert values.shape == (2 ** math.prod(shape), N)
    torch.testing.assert_close(values.mean(0), expected)
    found, right = (torch.autograd.grad(v.mean(), weights, materialize_grads=True) for v in (values, expected))
    assert any(part.abs().max() > 1e-3 for part in right)
    for a, b in zip(found, right, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", SHAPES)
def test_means_and_variances_over_directions(shape):
    """With s = ∇E and H = ∇²E at one point: 2‖H‖² less twice the squares of its diagonal for signs, 2‖H‖² for normal directions, and
    ½‖s‖⁴ - 2sᵀHs more where (vᵀs)² is a sample too, which in one or two dimensions may be less."""
    dimension, k = math.prod(shape), 40_000
    root = normal(dimension, dimension, seed=4)
    precision = root @ root.T / dimension + torch.eye(dimension, dtype=torch.float64)
    x = normal(1, *shape, seed=5) * 1.5
    first = precision @ x.flatten()
    both = 2 * precision.square().sum()
    expected = {
        "signs": both - 2 * precision.diagonal().square().sum(),
        "normal": both,
        "plain": both + first.square().sum().square() / 2 - 2 * first @ precision @ first,
    }

    def energy(y):
        return ((y.flatten(1) @ precision) * y.flatten(1)).sum(1) / 2

    gaussian, signs = normal(k, 1, *shape, seed=6), normal(k, 1, *shape, seed=7).sign()

    def along(v):
        """Values at k copies of the point, one direction each."""
        return x.expand(k, *shape), v.view(k, *shape)

    values = {
        "signs": variance_reduced_slices(energy, *along(signs)),
        "normal": variance_reduced_slices(energy, *along(gaussian)),
        "plain": plain_slices(energy, *along(gaussian)),
    }
    exact = float(implicit_score_matching(energy, x))
    for kind, found in values.items():
        assert float(found.mean()) == pytest.approx(exact, abs=5 * math.sqrt(float(expected[kind]) / k)), kind
        assert float(found.var()) == pytest.approx(float(expected[kind]), rel=0.1), kind


@pytest.mark.parametrize("shape", [(3,), (10,), (1, 3, 3)])
def test_order_of_standard_deviations_on_data(shape):
    """Over examples and directions together, of an energy that is no Gaussian's."""
    n = 20_000
    x, gaussian, signs = normal(n, *shape), normal(n, *shape, seed=2), normal(n, *shape, seed=3).sign()

    def energy(y):
        flat = y.flatten(1)
        return flat.pow(4).sum(1) / 4 + (flat[:, :-1] * flat[:, 1:]).sin().sum(1)

    plain = plain_slices(energy, x, gaussian)
    reduced, by_signs = variance_reduced_slices(energy, x, gaussian), variance_reduced_slices(energy, x, signs)
    assert by_signs.std() < reduced.std() < 0.9 * plain.std()
    exact = implicit_score_matching(energy, x).mean()
    for values in (plain, reduced, by_signs):
        assert abs(float(values.mean() - exact)) < 5 * float(values.std()) / math.sqrt(n)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_error_of_finite_differences_is_of_second_order(name, shape):
    """For normal directions of different lengths, (k, n) of them, all moved by the same distance."""
    energy, x, v = energy_of(name, shape), normal(N, *shape), normal(3, N, *shape, seed=2)
    exact = plain_slices(energy, x, v)
    steps = torch.tensor([0.2, 0.1, 0.05, 0.025], dtype=torch.float64)
    errors = []
    for step in steps.tolist():
        values = finite_difference_slices(energy, x, v, step)
        assert values.shape == (3, N)
        errors.append((values - exact).norm().detach())
    slopes = torch.stack(errors).log().diff() / steps.log().diff()
    assert slopes[-1] == pytest.approx(2, abs=0.1)
    assert errors[-1] < 0.02 * exact.norm()
    torch.testing.assert_close(finite_difference_slices(energy, x, v[0], 0.1), finite_difference_slices(energy, x, v, 0.1)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_finite_differences_are_exact_on_gaussians_whatever_the_step_and_the_length(shape):
    def energy(y):
        flat = y.flatten(1)
        return 0.7 * flat.square().sum(1) + flat[:, 0] * flat[:, -1] + flat[:, 0]

    x, v = normal(N, *shape), normal(N, *shape, seed=2)
    for step, length in [(0.1, 1.0), (2.0, 1.0), (0.5, 3.0)]:
        torch.testing.assert_close(finite_difference_slices(energy, x, length * v, step), plain_slices(energy, x, length * v))
    # Mean over directions with E[vvᵀ] = I, not over unit vectors, which would be a D-th of it.
    torch.testing.assert_close(finite_difference_slices(energy, x, all_signs(x), 0.3).mean(0), implicit_score_matching(energy, x))


def test_points_are_moved_by_the_step():
    seen = []

    def energy(y):
        seen.append(y)
        return y.square().sum(1)

    x = normal(N, 10)
    finite_difference_slices(energy, x, normal(2, N, 10, seed=2), 0.25)
    (points,) = seen
    assert len(points) == 5 * N
    torch.testing.assert_close((points.view(5, N, 10)[1:] - x).norm(dim=-1), torch.full((4, N), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("slices", ["plain", "variance_reduced", "finite_difference"])
@pytest.mark.parametrize("shape", [(1,), *SHAPES])
def test_the_truth_is_the_optimum_and_the_wrong_sign_loses(shape, slices):
    """Data of standard deviation 0.7, whose own second moment is exactly that, over all Rademacher directions."""
    x = normal(8, *shape)
    x = 0.7 * x / x.square().mean().sqrt()
    precision = torch.tensor(1 / 0.7**2, dtype=torch.float64, requires_grad=True)

    def loss(factor):
        def energy(y):
            return factor * precision * y.flatten(1).square().sum(1) / 2

        if slices == "finite_difference":
            return finite_difference_slices(energy, x, all_signs(x), 0.1).mean()
        return {"plain": plain_slices, "variance_reduced": variance_reduced_slices}[slices](energy, x, all_signs(x)).mean()

    best = loss(1.0)
    assert float(torch.autograd.grad(best, precision)[0]) == pytest.approx(0, abs=1e-6)
    assert float(best.detach()) == pytest.approx(-math.prod(shape) / 0.7**2 / 2, rel=1e-6)
    for factor in (-1.0, 0.5, 0.8, 1.25, 2.0):
        assert loss(factor) > best + 1e-3


class TestMethod:
    def made(self, shape=(3,), **settings):
        return build("sliced_score_matching", spec_of(shape), {"batch_size": 5} | settings, network=NetworkConfig(settings={"width": 8}))

    @pytest.mark.parametrize("projection", ["rademacher", "gaussian"])
    @pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
    def test_directions(self, projection, shape):
        method = self.made(shape, projection=projection, projections=4000)
        v = method.directions(torch.zeros(5, *shape), torch.Generator().manual_seed(0))
        assert v.shape == (4000, 5, *shape)
        flat = v.flatten(0, 1).flatten(1).double()
        torch.testing.assert_close(flat.T @ flat / len(flat), torch.eye(math.prod(shape), dtype=torch.float64), atol=0.06, rtol=0)
        assert (projection == "rademacher") == bool((v.abs() == 1).all())

    @pytest.mark.parametrize("projections", [1, 3])
    @pytest.mark.parametrize("estimator", ["variance_reduced", "plain", "finite_difference"])
    def test_an_update_is_by_the_estimator_that_was_asked_for(self, estimator, projections):
        method = self.made(estimator=estimator, projections=projections, step=0.3)
        x = normal(5, 3).float()
        v = method.directions(x, torch.Generator().manual_seed(1))
        values = {
            "variance_reduced": lambda: variance_reduced_slices(method.live, x, v),
            "plain": lambda: plain_slices(method.live, x, v),
            "finite_difference": lambda: finite_difference_slices(method.live, x, v, 0.3),
        }
        expected = {kind: float(value().mean().detach()) for kind, value in values.items()}
        assert len({round(value, 4) for value in expected.values()}) == 3
        loss = method.training_step(x, torch.Generator().manual_seed(1))["loss"]
        assert loss == pytest.approx(expected[estimator], rel=1e-4)
