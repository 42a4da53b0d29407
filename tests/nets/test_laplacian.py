"""Slopes, curvatures and Laplacians of the networks' energies against the whole Hessian by autograd, and as functions of the weights."""

from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork

from ebmpipe import registry
from ebmpipe.activations import Swish
from ebmpipe.derivatives import by_forward_laplacian, by_forward_over_reverse, slope, slope_and_curvature, slope_and_laplacian
from ebmpipe.energies import BasedEnergy, GaussianLaw, UniformLaw, Watched
from ebmpipe.nets.spectral import spectrally_normalised
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

SMALL = {
    "mlp": {"width": 8, "depth": 3, "gain": 2.0},
    "swish_mlp": {"width": 8, "depth": 3, "gain": 2.0},
    "conv": {"widths": [3, 4]},
    "resnet": {"widths": [3, 4]},
}
CASES = [(name, shape) for name in ("mlp", "swish_mlp") for shape in ((1,), (2,), (10,), (1, 3, 3))]
CASES += [("conv", (1, 4, 4)), ("conv", (2, 5, 3)), ("resnet", (1, 4, 4))]
N = 3


def network(name, shape, bound=None, classes=None):
    torch.manual_seed(0)
    cls = registry.load("nets", name)
    made = cls(shape, cls.Config.model_validate(SMALL[name]), classes).double()
    for module in made.modules():
        if isinstance(module, Swish):
            torch.nn.init.uniform_(module.beta, -0.5, 2.0)
    return made if bound is None else spectrally_normalised(made, bound)


def energy(name, shape, temperature=0.3, bound=None, classes=None, base=None):
    spec = DataSpec("made_up", "images", shape, -0.4, 0.7, None, None, None, Path())
    return BasedEnergy(network(name, shape, bound, classes), spec, base, temperature)


def points(shape, n=N):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_hessian(function, x):
    """Value, slope and the whole Hessian (n, D, D) of each example on its own, as functions of the weights."""
    values, slopes, hessians = [], [], []
    for each in x:
        at = each.clone().requires_grad_(True)
        value = function(at[None])[0]
        (first,) = torch.autograd.grad(value, at, create_graph=True)
        rows = [torch.autograd.grad(entry, at, create_graph=True)[0].flatten() for entry in first.flatten()]
        values.append(value)
        slopes.append(first)
        hessians.append(torch.stack(rows))
    return torch.stack(values), torch.stack(slopes), torch.stack(hessians)


def traced(function, x):
    value, first, hessian = by_hessian(function, x)
    return value, first, hessian.diagonal(dim1=1, dim2=2).sum(1)


def assert_same(found, expected, weights):
    """The three numbers, and the weights' gradients of a loss made of the last two."""
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    gradients = []
    for _, first, laplacian in (found, expected):
        loss = (first.flatten(1).square().sum(1) / 2 - laplacian).mean()
        gradients.append(torch.autograd.grad(loss, weights, materialize_grads=True))
    assert any(part.abs().max() > 1e-6 for part in gradients[1])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("name", "shape"), CASES)
class TestNetworks:
    def test_forward_over_reverse_is_the_trace_of_the_hessian(self, name, shape):
        function, x = network(name, shape), points(shape)
        assert_same(by_forward_over_reverse(function, x), traced(function, x), list(function.parameters()))

    @pytest.mark.parametrize("bound", [None, 1.5])
    def test_so_is_what_the_network_offers(self, name, shape, bound):
        """With normalised weights too, which are functions of others."""
        function, x = network(name, shape, bound), points(shape)
        assert_same(function.slope_and_laplacian(x), traced(function, x), list(function.parameters()))

    @pytest.mark.parametrize("bound", [None, 1.5])
    def test_based_energies_have_their_units_and_the_base(self, name, shape, bound):
        """At a temperature, by which the base alone is multiplied."""
        function, x = energy(name, shape, bound=bound), points(shape)
        assert_same(slope_and_laplacian(function, x), traced(function, x), list(function.parameters()))
        without = BasedEnergy(function.network, DataSpec("", "images", shape, -0.4, 0.7, None, None, None, Path()), temperature=0.0)
        of_base = slope_and_laplacian(function, x)[2] - slope_and_laplacian(without, x)[2]
        torch.testing.assert_close(of_base, torch.full_like(of_base, 0.3 * x[0].numel() / (1.5 * 0.7) ** 2))

    def test_curvature_along_directions(self, name, shape):
        function, x = energy(name, shape), points(shape)
        _, expected, hessian = by_hessian(function, x)
        v = torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        curvatures = torch.einsum("kni,nij,knj->kn", v.flatten(2), hessian, v.flatten(2))
        first, found = slope_and_curvature(function, x, v)
        torch.testing.assert_close(first, expected)
        torch.testing.assert_close(found, curvatures)
        torch.testing.assert_close(slope_and_curvature(function, x, v[1])[1], curvatures[1])
        torch.testing.assert_close(slope(function, x), expected)

    def test_dimensions_are_counted_by_curvatures_along_the_axes(self, name, shape):
        function, x = energy(name, shape), points(shape)
        axes = torch.eye(x[0].numel(), dtype=torch.float64).view(-1, 1, *shape).expand(-1, *x.shape)
        torch.testing.assert_close(slope_and_curvature(function, x, axes)[1].sum(0), slope_and_laplacian(function, x)[2])


def test_chains_of_layers_go_forward_in_one_pass():
    """What all but `resnet` declare as layers is the whole of them; that one is no chain."""
    for name, shape in CASES:
        function, x = network(name, shape), points(shape)
        if name == "resnet":
            assert function.layers is None
        else:
            assert_same(by_forward_laplacian(function.layers, x), by_forward_over_reverse(function, x), list(function.parameters()))


@pytest.mark.parametrize("name", SMALL)
def test_energies_made_of_logits(name):
    function, x = energy(name, (1, 4, 4), classes=3), points((1, 4, 4))
    assert_same(slope_and_laplacian(function, x), traced(function, x), list(function.parameters()))


def test_on_a_box_the_base_adds_nothing():
    shape = (1, 3, 3)
    function, x = energy("mlp", shape, base=UniformLaw(shape, Box(-1.0, 1.0))), points(shape).clamp(-0.9, 0.9)
    assert_same(slope_and_laplacian(function, x), traced(function, x), list(function.parameters()))


@pytest.mark.parametrize("shape", [(1,), (2,), (10,), (1, 3, 3)])
def test_the_quadratic_network_of_the_tests(shape):
    function, x = QuadraticNetwork(shape, QuadraticNetwork.Config()).double(), points(shape)
    with torch.no_grad():
        for parameter in function.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    assert_same(function.slope_and_laplacian(x), traced(function, x), list(function.parameters()))


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 3, 3)])
def test_laws(shape):
    x, gaussian, uniform = points(shape), GaussianLaw(shape, 0.3, 1.7), UniformLaw(shape, Box(-5.0, 5.0))
    for found, expected in zip(gaussian.slope_and_laplacian(x), by_forward_over_reverse(gaussian, x), strict=True):
        torch.testing.assert_close(found, expected)
    value, first, laplacian = uniform.slope_and_laplacian(x)
    assert torch.equal(value, uniform(x))
    assert not first.any()
    assert not laplacian.any()


def test_any_function_will_do_and_watching_one_changes_nothing():
    x = points((2,))

    def quartic(y):
        return y.pow(4).sum(1) / 4 + y[:, 0] * y[:, 1]

    value, first, laplacian = slope_and_laplacian(quartic, x)
    torch.testing.assert_close(value, quartic(x))
    torch.testing.assert_close(first, x.pow(3) + x.flip(1))
    torch.testing.assert_close(laplacian, 3 * x.square().sum(1))
    watched = Watched(energy("mlp", (2,)))
    value, _, laplacian = slope_and_laplacian(watched, x)
    assert watched.seen is value
    torch.testing.assert_close(laplacian, slope_and_laplacian(watched.energy, x)[2])
    assert torch.equal(watched.x.detach(), x)


@pytest.mark.parametrize("directions", [1, 3])
def test_an_energy_that_is_linear_has_no_curvature(directions):
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    v = torch.randn(directions, N, 2, dtype=torch.float64)
    first, curvatures = slope_and_curvature(lambda x: x @ weights, points((2,)), v)
    assert torch.equal(first.detach(), weights.detach().expand(N, 2))
    assert not curvatures.any() and curvatures.shape == (directions, N)
