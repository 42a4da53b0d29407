"""Energies of every level of noise: one network, its level among its inputs, proper at each."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BASE_WIDTH, gradient, value_and_gradient
from ebmpipe.nets.base import build_network
from ebmpipe.noise_levels import NoisyEnergies, geometric, with_level
from ebmpipe.spec import DataSpec

CASES = {
    "mlp, plane": ("density", (2,), {"name": "mlp", "settings": {"width": 8}}),
    "mlp, vectors": ("vectors", (5,), {"name": "mlp", "settings": {"width": 8}}),
    "mlp, images": ("images", (1, 4, 4), {"name": "mlp", "settings": {"width": 8}}),
    "conv": ("images", (3, 8, 8), {"name": "conv", "settings": {"widths": [4, 8]}}),
    "resnet": ("images", (1, 8, 8), {"name": "resnet", "settings": {"widths": [4, 8]}}),
}


@pytest.fixture(params=CASES)
def energies(request):
    kind, shape, network = CASES[request.param]
    spec = DataSpec("made_up", kind, shape, 0.3, 1.7, None, None, None, Path())
    torch.manual_seed(0)
    return NoisyEnergies(build_network(NetworkConfig.model_validate(network), with_level(spec)), spec).double()


def events(energies, n=6):
    return torch.randn(n, *energies.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_levels_fall_by_a_constant_factor():
    levels = geometric(8.0, 0.5, 5)
    assert levels == pytest.approx([8.0, 4.0, 2.0, 1.0, 0.5])
    assert geometric(3.0, 0.5, 1) == [0.5]
    assert geometric(0.5, 0.5, 3) == [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match=r"0\.1 is less than 0\.5"):
        geometric(0.1, 0.5, 3)


def test_gradients_by_hand_are_those_of_autograd(energies):
    x, sigma = events(energies).requires_grad_(True), torch.tensor([0.1, 0.2, 0.5, 1.0, 3.0, 9.0], dtype=torch.float64)
    value = energies(x, sigma)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(energies.grad(x.detach(), sigma), slope)
    torch.testing.assert_close(energies.value_and_grad(x.detach(), sigma), (value.detach(), slope))


def test_one_level_of_all_is_that_level_of_each(energies):
    x = events(energies)
    at = energies.at(0.7)
    torch.testing.assert_close(at(x), energies(x, torch.full((6,), 0.7, dtype=torch.float64)))
    torch.testing.assert_close(at.at_width(3.0)(x), energies(x, 2.1))
    torch.testing.assert_close(value_and_gradient(at, x), (at(x).detach(), gradient(at, x)))


def test_the_level_matters_and_examples_do_not_mix(energies):
    x = events(energies)
    assert float((energies.network(energies._input(x, energies._levels(x, 0.1))[0]) - energies(x, 0.1)).abs().min()) > 0
    sigma = torch.tensor([0.1, 0.1, 0.1, 4.0, 4.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(energies(x, sigma)[:3], energies(x, 0.1)[:3])
    assert float((energies(x, sigma)[3:] - energies(x, 0.1)[3:]).abs().min()) > 1e-6


class Zero(nn.Module):
    """f = 0."""

    def forward(self, x):
        return 0 * x.flatten(1).sum(1)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 2, 2)])
def test_without_a_network_it_is_the_base_with_the_noise(shape):
    """-log N(m, (c s)² + σ²), whose partition function is 1, and whose network sees unit variance."""
    energies, sigma = NoisyEnergies(Zero(), DataSpec("made_up", "vectors", shape, 0.4, 2.0, None, None, None, Path())), 1.5
    x = events(energies)
    law = torch.distributions.Normal(0.4, math.sqrt((BASE_WIDTH * 2.0) ** 2 + sigma**2))
    torch.testing.assert_close(energies(x, sigma), -law.log_prob(x).flatten(1).sum(1))
    seen, _ = energies._input(x, energies._levels(x, sigma))
    torch.testing.assert_close(seen[:, : shape[0]], (x - 0.4) / 2.5)
    assert seen.shape == (6, shape[0] + 1, *shape[1:])
