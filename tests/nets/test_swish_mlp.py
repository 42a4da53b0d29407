"""The perceptron of learned activations: its derivatives, what it is at first, and that its sharpness learns."""

from functools import partial

import pytest
import torch
from torch import nn

from ebmpipe.activations import LeakyReLU, SiLU, Swish
from ebmpipe.config import OptimiserConfig
from ebmpipe.derivatives import by_forward_over_reverse
from ebmpipe.energies import gradient, value_and_gradient
from ebmpipe.flops import FlopCounter
from ebmpipe.nets.leaky_mlp import LeakyMLP
from ebmpipe.nets.mlp import MLP
from ebmpipe.nets.swish_mlp import SwishMLP
from ebmpipe.optimisation import Learner, apply_gradients

SHAPES = [(1,), (2,), (5,), (1, 3, 4)]


def points(shape, n=7):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(cls, shape=(2,), classes=None, **settings):
    torch.manual_seed(0)
    return cls(shape, cls.Config.model_validate({"width": 12} | settings), classes).double()


def sharpened(shape=(2,), classes=None, **settings):
    """With a β of its own for every unit, among them 0 and less."""
    made = network(SwishMLP, shape, classes, **settings)
    for activation in made.activations:
        nn.init.uniform_(activation.beta, -0.5, 3.0)
        activation.beta.data[0] = 0.0
    return made


@pytest.mark.parametrize("activation", [SiLU(), Swish(6), LeakyReLU()], ids=["silu", "swish", "leaky_relu"])
def test_activations_know_their_derivatives(activation):
    if isinstance(activation, Swish):
        activation.beta.data = torch.tensor([0.0, 1.0, -0.7, 3.0, 0.2, 10.0])
    x = (2 * points((6,), 50)).requires_grad_(True)
    value, first, second = activation.double().to_second_order(x)
    torch.testing.assert_close(value, activation(x))
    (slope,) = torch.autograd.grad(activation(x).sum(), x, create_graph=True)
    torch.testing.assert_close(first, slope)
    if slope.requires_grad:
        torch.testing.assert_close(second, torch.autograd.grad(slope.sum(), x)[0])
    else:
        assert not second.any()


def test_swish_is_linear_at_zero_and_tends_to_a_rectifier():
    swish, x = Swish(2).double(), points((2,))
    swish.beta.data = torch.tensor([0.0, 1e4], dtype=torch.float64)
    torch.testing.assert_close(swish(x).detach(), torch.stack([x[:, 0] / 2, x[:, 1].relu()], 1))


@pytest.mark.parametrize("make", [sharpened, partial(network, LeakyMLP)], ids=["swish", "leaky rectifiers"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_by_hand_are_those_of_autograd(make, shape, classes, depth):
    made, x = make(shape, classes, depth=depth, gain=2.0), points(shape).requires_grad_(True)
    value = made(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient(made, x.detach()), slope)
    by_hand, slope_by_hand = value_and_gradient(made, x.detach())
    torch.testing.assert_close(by_hand, value.detach())
    torch.testing.assert_close(slope_by_hand, slope)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_laplacian_is_that_of_autograd(shape):
    made, x = sharpened(shape), points(shape)
    found, expected = made.slope_and_laplacian(x), by_forward_over_reverse(made, x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [None, 3])
def test_at_first_it_is_the_mlp_of_the_same_weights(shape, classes):
    """Which it also draws alike, as sharpness begins at one without a random number."""
    swish, plain, x = network(SwishMLP, shape, classes), network(MLP, shape, classes), points(shape)
    missing, unexpected = swish.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["activations.0.beta", "activations.1.beta"] and not unexpected
    for twice in (swish, network(SwishMLP, shape, classes)):
        for a, b in zip(twice.value_and_grad(x), plain.value_and_grad(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(twice(x), plain(x), rtol=1e-14, atol=1e-14)


def test_every_unit_learns_a_sharpness_of_its_own():
    learner, x = Learner(network(SwishMLP), OptimiserConfig(), 10), points((2,), 50)
    energies = learner.network(x)
    apply_gradients((energies - x.square().sum(1)).square().mean(), learner, energies)
    for live, average in zip(learner.network.activations, learner.average.activations, strict=True):
        assert live.beta.shape == (12,)
        assert (live.beta != 1).all()
        assert live.beta.unique().numel() > 1
        assert not torch.equal(average.beta, torch.ones_like(average.beta)), "the average follows"


@pytest.mark.parametrize("call", ["forward", "grad", "value_and_grad", "slope_and_laplacian"])
def test_it_counts_as_many_operations_as_the_mlp(call):
    """Matrix products alone are counted, and those are the same."""
    totals = []
    for cls in (SwishMLP, MLP):
        made = network(cls)
        with FlopCounter() as counter:
            getattr(made, call)(points((2,)))
        totals.append(counter.total)
    assert totals[0] == totals[1] > 0


def test_its_size_is_that_of_the_source():
    made = SwishMLP((2,), SwishMLP.Config())
    assert sum(p.numel() for p in made.parameters()) == (2 + 1) * 300 + (300 + 1) * 300 + 300 + 1 + 2 * 300
