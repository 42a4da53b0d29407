"""Fields by tangent kernels: networks that are linear in what is learned, functions on a grid, and the flows that follow them."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import GaussianLaw
from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods import build
from ebmpipe.methods.grid_function import GridFunction
from ebmpipe.methods.pd_delta import tangent_field
from ebmpipe.methods.tangent_network import TangentNetwork
from ebmpipe.nets.base import build_network
from ebmpipe.spec import DataSpec

DOUBLE = torch.float64


def spec_of(*shape):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.0, 1.0, None, None, None, Path())


def per_example(network, x):
    """∇_θf at each example, (n, weights), as functions of x."""
    return torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(f, list(network.parameters()), create_graph=True)]) for f in network(x)]
    )


@pytest.mark.parametrize("shape", [(1,), (2,), (4,)])
def test_the_tangent_field_is_that_of_pairs(shape):
    """E_data[k(x, y) ∇E(x) - ∇ₓk(x, y)] with every k formed."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(settings={"width": 6}), spec_of(*shape)).double()
    generator = torch.Generator().manual_seed(7)
    x, y = torch.randn(2, 5, *shape, generator=generator, dtype=DOUBLE)
    field = tangent_field(EnergyChange(network), y, x)
    points = x.clone().requires_grad_(True)
    tangents = per_example(network, points)
    slope = torch.autograd.grad(network(points).sum(), points)[0]
    for one, expected in zip(y, field, strict=True):
        k = tangents @ per_example(network, one[None])[0].detach()
        (slope_of_k,) = torch.autograd.grad(k.sum(), points, retain_graph=True)
        torch.testing.assert_close((k.detach()[:, None] * slope - slope_of_k).mean(0), expected)


@pytest.mark.parametrize("shape", [(2,), (5,), (1, 8, 8)])
@pytest.mark.parametrize("classes", [None, 3])
def test_a_tangent_network_is_linear_in_its_weights(shape, classes):
    """f = Σ ⟨∇_ψ f_m, W_m⟩ / √M, each product by hand; and zero where training starts."""
    torch.manual_seed(0)
    # By transforms of functions, by the same with weights in activations, and layer by layer.
    name, settings = {1: ("mlp", {"width": 6, "depth": 3}), 3: ("conv", {"widths": [4, 4]})}[len(shape)]
    config = NetworkConfig(name="swish_mlp", settings={"width": 6}) if shape == (5,) else NetworkConfig(name=name, settings=settings)
    made = []

    def make():
        made.append(build_network(config, spec_of(*shape), classes).double())
        return made[-1]

    tangent = TangentNetwork(make, 3, classes).double()
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(8), dtype=DOUBLE)
    outputs = classes or 1
    assert torch.equal(tangent.outputs_at(x), torch.zeros(4, outputs, dtype=DOUBLE))
    with torch.no_grad():
        for weight in tangent.weights:
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()), dtype=DOUBLE))
    expected = torch.zeros(4, outputs, dtype=DOUBLE)
    for m, network in enumerate(made):
        network.requires_grad_(True)
        for index, row in enumerate(network.outputs_at(x)):
            for column, value in enumerate(row):
                grads = torch.autograd.grad(value, list(network.parameters()), retain_graph=True)
                expected[index, column] += sum(float((g * w[m]).sum()) for g, w in zip(grads, tangent.weights, strict=True)) / math.sqrt(3)
    torch.testing.assert_close(tangent.outputs_at(x).detach(), expected)


@pytest.mark.parametrize("own", [None, {"name": "leaky_mlp", "settings": {"width": 8, "depth": 1}}], ids=["same", "own"])
def test_gamma_is_the_gradient_flow_of_the_discrepancy_of_its_kernel(own):
    """E ← E + h (E_particles k - E_data k), y ← y - h ∇ of the same, by kernels between pairs; and the discrepancy falls."""
    spec, h = spec_of(2), 0.05
    settings = {"particles": 6, "members": 2, "optimiser": {"sgd_after": 0.0, "sgd_learning_rate": h, "schedule": "constant"}}
    # Whichever network it is, that of all methods or its own.
    settings |= {"network": own}
    method = build("pd_gamma", spec, settings, network=NetworkConfig(settings={"width": 6})).double()
    tangent = method.live.network
    assert next(tuple(weight.shape) for weight in tangent.weights) == ((2, 8, 2) if own else (2, 6, 2))
    data = 1 + 0.5 * torch.randn(8, 2, generator=torch.Generator().manual_seed(9), dtype=DOUBLE)
    probe = torch.randn(5, 2, generator=torch.Generator().manual_seed(10), dtype=DOUBLE)

    def features(x):
        """φ with k(x, y) = φ(x)·φ(y): the derivative of the energy in what is learned."""
        return per_example(tangent, x)

    def discrepancy(y):
        return float((features(y).mean(0) - features(data).mean(0)).square().sum())

    particles, before = method.particles.clone(), discrepancy(method.particles)
    at = torch.cat([probe, particles]).requires_grad_(True)
    rate = features(at) @ (features(particles).mean(0) - features(data).mean(0)).detach()
    (slope,) = torch.autograd.grad(rate.sum(), at)
    energies = method.live(probe).detach()
    method.training_step(data, torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.live(probe).detach() - energies, h * rate[:5].detach())
    torch.testing.assert_close(method.particles, particles - h * slope[5:])
    for _ in range(100):
        method.training_step(data, torch.Generator().manual_seed(0))
    assert discrepancy(method.particles) < 0.9 * before


FRESH = {"draws": "fresh", "particles": 6, "network": {"name": "leaky_mlp", "settings": {"width": 8, "gain": 1.5}}}


def in_the_plane(**settings):
    """`pd_gamma` with new networks, on points of a mean and a width of their own."""
    spec = DataSpec("made_up", "density", (2,), 0.4, 1.7, None, None, None, Path())
    optimiser = {"sgd_after": 0.0, "sgd_learning_rate": 0.05, "schedule": "constant"}
    return build("pd_gamma", spec, FRESH | {"optimiser": optimiser} | settings)


def test_with_a_new_network_every_step_gamma_is_that_of_its_kernel():
    """The energy at the nodes rises by h (E_particles k - E_data k), particles go down its slope, and the next network is another."""
    method = in_the_plane()
    data = 0.4 + 1.7 * torch.randn(8, 2, generator=torch.Generator().manual_seed(9))
    grid, weights = method.live.network, []
    for step in range(2):
        particles, values = method.particles.clone(), grid.values.detach().clone()
        method.training_step(data, torch.Generator().manual_seed(step))
        (drawn,) = method.drawn
        weights.append(next(drawn.parameters()).detach().clone())
        chosen = torch.tensor([0, 777, 12_000])
        at = torch.cat([0.4 + 1.7 * grid.nodes[chosen], particles]).requires_grad_(True)

        def features(x, drawn=drawn):
            return per_example(drawn, (x - 0.4) / 1.7)

        rate = features(at) @ (features(particles).mean(0) - features(data).mean(0)).detach()
        (slope,) = torch.autograd.grad(rate.sum(), at)
        torch.testing.assert_close((grid.values.detach() - values).flatten()[chosen], 0.05 * rate[:3].detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(method.particles, particles - 0.05 * slope[3:], rtol=1e-4, atol=1e-6)
    assert not torch.equal(*weights)
    torch.testing.assert_close(method.base(data), GaussianLaw((2,), 0.4, 1.7)(data))
    assert not [key for key in method.state_dict() if "drawn" in key], "the network of an update is no part of the state"


def test_a_function_on_a_grid_is_bilinear():
    grid = GridFunction(side=7, reach=3.0).double()
    with torch.no_grad():
        grid.values.copy_((2 * grid.nodes[:, 0] - 0.5 * grid.nodes[:, 1] + grid.nodes.prod(1)).view(7, 7))
    x = torch.tensor([[0.3, -1.7], [2.9, 2.2], [-3.0, 3.0], [0.0, 0.5]], dtype=DOUBLE)
    torch.testing.assert_close(grid(x), 2 * x[:, 0] - 0.5 * x[:, 1] + x.prod(1))
    beyond = torch.tensor([[5.0, 0.3]], dtype=DOUBLE)
    torch.testing.assert_close(grid(beyond), grid(torch.tensor([[3.0, 0.3]], dtype=DOUBLE)))


def test_a_grid_is_of_the_plane_alone():
    with pytest.raises(ValueError, match="only in the plane"):
        build("pd_gamma", spec_of(2), FRESH)
    with pytest.raises(ValueError, match="on a base that stays"):
        in_the_plane(learned_base=True)
    with pytest.raises(ValueError, match="without weights in their activations"):
        in_the_plane(network={"name": "swish_mlp"}).training_step(torch.randn(8, 2), torch.Generator().manual_seed(0))
