"""Networks and energies: hand-written gradients, fast paths, the Gaussian base."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ebmpipe import registry
from ebmpipe.energies import BasedEnergy, GaussianLaw, frozen, gradient, value_and_gradient
from ebmpipe.nets.conv import Stem
from ebmpipe.spec import DataSpec

SHAPES = {"density": (2,), "vectors": (5,), "images": (1, 8, 8)}


def spec_of(kind, shape=None, mean=0.3, std=0.7):
    shape = shape or SHAPES[kind]
    return DataSpec("made_up", kind, shape, mean, std, 17 if kind == "images" else None, None, None, Path())


def networks():
    for name, network in registry.load_all("nets").items():
        for kind in sorted(network.kinds):
            yield pytest.param(network, SHAPES[kind], kind, id=f"{name}-{kind}")
        if "images" in network.kinds:
            yield pytest.param(network, (3, 20, 17), "images", id=f"{name}-colour")


@pytest.mark.parametrize(("network", "shape", "kind"), list(networks()))
class TestNetworks:
    def test_gradient_by_hand_equals_autograd(self, network, shape, kind):
        torch.manual_seed(0)
        energy = BasedEnergy(network(shape, network.Config()), spec_of(kind, shape)).double()
        reference = copy.deepcopy(energy)
        for n in (1, 7, 3, 7):
            x = torch.randn(n, *shape, dtype=torch.float64, requires_grad=True)
            value = reference(x)
            (slope,) = torch.autograd.grad(value.sum(), x)
            by_hand, slope_by_hand = value_and_gradient(energy, x.detach())
            torch.testing.assert_close(by_hand, value.detach())
            torch.testing.assert_close(slope_by_hand, slope)
            torch.testing.assert_close(gradient(energy, x.detach()), slope)
            assert value.shape == (n,)

    def test_results_outlive_the_next_call(self, network, shape, kind):
        energy = network(shape, network.Config())
        first = gradient(energy, torch.randn(4, *shape))
        kept = first.clone()
        gradient(energy, torch.randn(4, *shape))
        assert torch.equal(first, kept)

    def test_gradient_follows_the_weights(self, network, shape, kind):
        energy = network(shape, network.Config())
        x = torch.randn(4, *shape)
        before = gradient(energy, x)
        with torch.no_grad():
            for parameter in energy.parameters():
                parameter.mul_(1.5)
        assert not torch.allclose(before, gradient(energy, x))

    def test_every_parameter_learns(self, network, shape, kind):
        energy = network(shape, network.Config())
        energy(torch.randn(3, *shape)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in energy.parameters())


@pytest.mark.parametrize("arguments", [(1, 8, 3, 1, 1), (1, 8, 4, 2, 1), (3, 16, 4, 2, 1)])
def test_stem_is_the_convolution(arguments):
    stem = Stem(*arguments).double()
    plain = nn.Conv2d(*arguments).double()
    plain.load_state_dict(stem.state_dict())
    x = torch.randn(3, arguments[0], 12, 10, dtype=torch.float64)
    torch.testing.assert_close(stem(x), plain(x))


@pytest.mark.parametrize("kind", SHAPES)
def test_based_energy_is_normalised_where_the_network_is_zero(kind):
    spec = spec_of(kind)
    energy = BasedEnergy(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(spec.shape), 1), nn.Flatten(0)), spec)
    for parameter in energy.parameters():
        nn.init.zeros_(parameter)
    law = torch.distributions.Normal(spec.mean, 1.5 * spec.std)
    x = torch.randn(5, *spec.shape)
    torch.testing.assert_close(energy(x), -law.log_prob(x).flatten(1).sum(1))


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 3, 3)])
def test_gaussian_law(shape):
    law = GaussianLaw(shape, 0.5, 2.0)
    x = law.sample(50_000, torch.Generator().manual_seed(0))
    assert abs(float(x.mean()) - 0.5) < 5 * 2 / math.sqrt(x.numel())
    assert abs(float(x.std()) - 2) < 5 * 2 / math.sqrt(2 * x.numel())
    points = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(law(points).sum(), points)
    torch.testing.assert_close(law.grad(points), slope)
    exact = torch.distributions.Normal(0.5, 2.0).log_prob(points).flatten(1).sum(1)
    torch.testing.assert_close(law(points), -exact)


def test_frozen_restores_what_it_found():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    module[0].bias.requires_grad_(False)
    module[1].eval()
    with frozen(module):
        assert not any(p.requires_grad for p in module.parameters())
        assert not any(m.training for m in module.modules())
    assert module[0].weight.requires_grad
    assert not module[0].bias.requires_grad
    assert module[0].training
    assert not module[1].training
