"""Energies that are made of class logits: the joint law that they define, and gradients written by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy, frozen, gradient, value_and_gradient
from ebmpipe.nets.base import EnergyNetwork, HeadedNetwork, NetworkSettings, build_network, energy_of_logits
from ebmpipe.nets.spectral import spectrally_normalised
from ebmpipe.spec import DataSpec

SHAPES = {
    "mlp": [(1,), (2,), (5,), (1, 8, 8)],
    "swish_mlp": [(1,), (2,), (5,), (1, 8, 8)],
    "leaky_mlp": [(1,), (2,), (5,), (1, 8, 8)],
    "conv": [(1, 8, 8), (3, 16, 16)],
    "resnet": [(1, 8, 8), (3, 16, 16)],
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]
CLASSES = 4


def made(name, shape, classes=CLASSES):
    spec = DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.2, 0.7, None, classes, None, Path())
    torch.manual_seed(1)
    return BasedEnergy(build_network(NetworkConfig(name=name), spec, classes).double(), spec, temperature=0.5)


def points(shape, n=6):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_every_network_has_logits():
    assert set(SHAPES) == {name for name, network in registry.load_all("nets").items() if issubclass(network, HeadedNetwork)}


@pytest.mark.parametrize(("name", "shape"), CASES)
class TestEveryNetwork:
    def test_the_energy_is_minus_the_logsumexp_of_the_logits_and_the_base(self, name, shape):
        energy, x = made(name, shape), points(shape)
        value, logits = energy.with_logits(x)
        assert logits.shape == (6, CLASSES)
        torch.testing.assert_close(value, energy(x))
        torch.testing.assert_close(value, -logits.exp().sum(1).log() + 0.5 * energy.base(x))

    def test_the_joint_law_is_that_of_x_times_the_softmax(self, name, shape):
        """exp(l_y) = exp(-E(x)) p(y | x) up to the base: summed over classes it is the law of x."""
        energy, x = made(name, shape), points(shape)
        value, logits = energy.with_logits(x)
        joint = -logits + 0.5 * energy.base(x)[:, None]
        torch.testing.assert_close((-joint).exp(), (-value).exp()[:, None] * logits.softmax(1))
        torch.testing.assert_close((-joint).exp().sum(1), (-value).exp())

    def test_input_gradients_are_those_of_autograd(self, name, shape):
        energy, x = made(name, shape), points(shape)
        leaf = x.clone().requires_grad_(True)
        expected = torch.autograd.grad(energy(leaf).sum(), leaf)[0]
        torch.testing.assert_close(gradient(energy, x), expected)
        value, slope = value_and_gradient(energy, x)
        torch.testing.assert_close(slope, expected)
        torch.testing.assert_close(value, energy(x).detach())

    def test_the_gradient_is_the_mean_of_the_classes_own(self, name, shape):
        """∇E = -Σ_y p(y | x) ∇l_y, less the base's."""
        energy, x = made(name, shape), points(shape, 3).requires_grad_(True)
        _, logits = energy.with_logits(x)
        slopes = torch.stack([torch.autograd.grad(logits[:, y].sum(), x, retain_graph=True)[0] for y in range(CLASSES)], dim=-1)
        expected = -(slopes.flatten(1, -2) * logits.softmax(1)[:, None]).sum(-1).view(x.shape) + 0.5 * energy.base.grad(x)
        torch.testing.assert_close(gradient(energy, x.detach()), expected.detach())

    def test_spectral_normalisation_takes_the_head_too(self, name, shape):
        energy, x = made(name, shape), points(shape)
        spectrally_normalised(energy.network, 0.5)
        assert torch.linalg.matrix_norm(energy.network.head.weight.detach(), 2) == pytest.approx(0.5)
        expected = torch.autograd.functional.jacobian(lambda v: energy(v).sum(), x)
        with frozen(energy):
            torch.testing.assert_close(gradient(energy, x), expected)


def test_one_class_is_a_network_of_one_output():
    """Up to the sign of that output, which is then a logit."""
    x = points((3,))
    one, plain = (made("mlp", (3,), classes).network for classes in (1, None))
    plain.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(x), -plain(x))
    torch.testing.assert_close(one.grad(x), -plain.grad(x))


def test_large_logits_neither_overflow_nor_vanish():
    logits = torch.tensor([[1000.0, 0.0], [-1000.0, -1000.0]])
    torch.testing.assert_close(energy_of_logits(logits), torch.tensor([-1000.0, 1000.0 - torch.tensor(2.0).log()]))


def test_a_network_without_classes_says_that_it_has_no_logits():
    with pytest.raises(ValueError, match="has no logits"):
        made("mlp", (2,), classes=None).with_logits(points((2,)))


class Bowl(EnergyNetwork):
    """An energy that is no function of logits."""

    name, revision, kinds, Config = "bowl", 1, frozenset({"vectors"}), NetworkSettings

    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x.square().sum(1)


def test_a_network_of_ones_own_needs_no_logits_unless_it_is_to_classify():
    spec = DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, CLASSES, None, Path())
    config = NetworkConfig(name=f"{__name__}:Bowl")
    assert build_network(config, spec)(torch.ones(1, 2)) == 2
    with pytest.raises(ValueError, match="has no logits to classify with"):
        build_network(config, spec, CLASSES)
