"""Networks and energies: hand-written gradients, fast paths, the Gaussian base."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ebmpipe import registry
from ebmpipe.energies import BasedEnergy, GaussianLaw, frozen, gradient, value_and_gradient
from ebmpipe.nets.resnet import Block, ResNet, ResNetConfig, halved
from ebmpipe.nets.stem import Stem
from ebmpipe.spec import DataSpec

SHAPES = {"density": (2,), "vectors": (5,), "images": (1, 8, 8), "binary": (1, 4, 4)}


def spec_of(kind, shape=None, mean=0.3, std=0.7):
    shape = shape or SHAPES[kind]
    return DataSpec("made_up", kind, shape, mean, std, 17 if kind == "images" else None, None, None, Path())


def networks():
    for name, network in registry.load_all("nets").items():
        for kind in sorted(network.kinds):
            yield pytest.param(network, SHAPES[kind], kind, id=f"{name}-{kind}")
        if "images" in network.kinds:
            yield pytest.param(network, (3, 20, 17), "images", id=f"{name}-colour")


def started(network, shape):
    """A new network; with random weights where all of them begin at zero."""
    made = network(shape, network.Config())
    if not any(parameter.any() for parameter in made.parameters()):
        for parameter in made.parameters():
            nn.init.normal_(parameter)
    return made


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
        energy = started(network, shape)
        x = torch.randn(4, *shape)
        before = gradient(energy, x)
        with torch.no_grad():
            for parameter in energy.parameters():
                parameter.mul_(1.5)
        assert not torch.allclose(before, gradient(energy, x))

    def test_every_parameter_learns(self, network, shape, kind):
        energy = started(network, shape)
        energy(torch.randn(3, *shape)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in energy.parameters())

    def test_is_smooth(self, network, shape, kind):
        """As far as it says so: what Taylor's formula of second order leaves over falls with the cube of the distance."""
        torch.manual_seed(1)
        energy = started(network, shape).double()
        x, direction = torch.randn(2, 4, *shape, dtype=torch.float64).unbind()
        x.requires_grad_(True)
        value = energy(x)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        along = (slope * direction).flatten(1).sum(1)
        (curvature,) = torch.autograd.grad(along.sum(), x)
        bend = (curvature * direction).flatten(1).sum(1) / 2
        with torch.no_grad():
            left = [(energy(x + d * direction) - value - d * along - d**2 * bend).abs().sum() for d in (1e-2, 2e-2)]
        smooth = network(shape, network.Config()).smooth
        assert bool(bend.abs().sum() > 0) == smooth
        # Nothing is left over of a quadratic form.
        assert not smooth or float(left[1]) < 1e-12 or float(left[1] / left[0]) == pytest.approx(8, rel=0.2)

    def test_an_example_does_not_know_its_batch(self, network, shape, kind):
        torch.manual_seed(0)
        energy = network(shape, network.Config()).double()
        x = torch.randn(5, *shape, dtype=torch.float64)
        together, alone = value_and_gradient(energy, x), [value_and_gradient(energy, one[None]) for one in x]
        torch.testing.assert_close(together[0], torch.cat([value for value, _ in alone]))
        torch.testing.assert_close(together[1], torch.cat([slope for _, slope in alone]))
        energy.eval()
        torch.testing.assert_close(energy(x).detach(), together[0])

    def test_single_and_double_precision_agree(self, network, shape, kind):
        torch.manual_seed(0)
        energy = network(shape, network.Config())
        x = torch.randn(5, *shape)
        single, double = value_and_gradient(energy, x), value_and_gradient(copy.deepcopy(energy).double(), x.double())
        for a, b in zip(single, double, strict=True):
            assert (a.dtype, b.dtype) == (torch.float32, torch.float64)
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)

    def test_sees_every_pixel(self, network, shape, kind):
        torch.manual_seed(0)
        slope = gradient(started(network, shape).double(), torch.randn(3, *shape, dtype=torch.float64))
        assert slope.ne(0).all()


@pytest.mark.parametrize("name", ["conv", "resnet"])
@pytest.mark.parametrize("widths", [[0], [8, -1], []])
def test_widths_are_counts(name, widths):
    with pytest.raises(ValueError, match="widths"):
        registry.load("nets", name).Config.model_validate({"widths": widths})


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 20, 17)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_residual_blocks_begin_as_small_corrections(shape, blocks):
    """A deep network is close to the one whose blocks are their skips alone, by the factor of their last weights."""
    torch.manual_seed(0)
    network = ResNet(shape, ResNetConfig(widths=(8, 12), blocks=blocks)).double()
    x = torch.randn(4, *shape, dtype=torch.float64)
    deep = network(x).detach()
    skips = copy.deepcopy(network)
    for block in skips.body:
        if isinstance(block, Block):
            nn.init.zeros_(block.second.weight)
    moved = float((deep - skips(x).detach()).abs().mean())
    assert 0 < moved < 0.3 * float(deep.std())


def test_a_block_halves_and_widens():
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    block = Block(3, 5, halves=True).double()
    assert block(x).shape == (2, 5, 4, 4)
    assert Block(3, 3, halves=False).double()(x).shape == x.shape
    # A 1x1 convolution of averages is the average of 1x1 convolutions, on odd borders too.
    torch.testing.assert_close(block.skip(halved(x)), halved(block.skip(x)))
    torch.testing.assert_close(halved(x)[..., :3, :], x[..., :6, :].unflatten(3, (4, 2)).unflatten(2, (3, 2)).mean((3, 5)))
    torch.testing.assert_close(halved(x)[..., 3, :], x[..., 6, :].unflatten(2, (4, 2)).mean(3))


@pytest.mark.parametrize("arguments", [(1, 8, 3, 1, 1), (1, 8, 4, 2, 1), (3, 16, 4, 2, 1)])
def test_stem_is_the_convolution(arguments):
    stem = Stem(*arguments).double()
    plain = nn.Conv2d(*arguments).double()
    plain.load_state_dict(stem.state_dict())
    x = torch.randn(3, arguments[0], 12, 10, dtype=torch.float64)
    torch.testing.assert_close(stem(x), plain(x))


@pytest.mark.parametrize("kind", [kind for kind in SHAPES if kind != "binary"])
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
