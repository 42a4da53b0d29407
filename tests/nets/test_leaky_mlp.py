"""The perceptron of leaky rectifiers: what it computes, that it is linear between kinks, and who refuses it."""

from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.derivatives import by_forward_over_reverse
from ebmpipe.energies import gradient
from ebmpipe.methods import build
from ebmpipe.nets.leaky_mlp import LeakyMLP
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (5,), (1, 3, 4)]


def points(shape, n=7):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(shape=(2,), **settings):
    torch.manual_seed(0)
    return LeakyMLP(shape, LeakyMLP.Config.model_validate({"width": 12} | settings)).double()


def test_it_is_layers_with_a_slope_of_a_fifth_below_zero():
    made, x = network(), points((2,))
    h = x
    for layer in made.hidden:
        a = h @ layer.weight.T + layer.bias
        h = torch.where(a > 0, a, a / 5)
    torch.testing.assert_close(made(x), (h @ made.head.weight.T + made.head.bias)[:, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_between_kinks_it_is_linear(shape):
    made, x = network(shape), points(shape)
    slope = gradient(made, x)
    step = 1e-7 * points(shape).flip(0)
    torch.testing.assert_close(made(x + step) - made(x), (slope * step).flatten(1).sum(1), rtol=1e-5, atol=1e-14)
    for found, expected in zip(made.slope_and_laplacian(x), by_forward_over_reverse(made, x), strict=True):
        torch.testing.assert_close(found, expected)
    assert not made.slope_and_laplacian(x)[2].any()


@pytest.mark.parametrize("name", ["score_matching", "sliced_score_matching"])
@pytest.mark.parametrize("network", ["leaky_mlp", "conv"])
def test_score_matching_refuses_what_bends_nowhere(name, network):
    """Its loss would see no curvature at all, and be least where the energy is a constant."""
    given = NetworkConfig(name=network, settings={"activation": "leaky_relu"} if network == "conv" else {})
    spec = DataSpec("made_up", "images", (1, 8, 8), 0.0, 1.0, None, None, None, Path())
    with pytest.raises(ValueError, match=f"{name} learns from second derivatives, and those of {network} with leaky"):
        build(name, spec, {}, network=given)
    build("sliced_score_matching", spec, {"estimator": "finite_difference"}, network=given)
    build("dsm", spec, {}, network=given)
