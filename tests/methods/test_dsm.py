"""Denoising score matching against closed forms on Gaussians: sign, scale and optimum, in several dimensions and on an image shape."""

import math

import pytest
import torch

from ebmpipe.methods.dsm import denoising_score_matching

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N = 40_000


def quadratic(precision):
    return lambda x: precision * x.flatten(1).square().sum(1) / 2


def losses(shape, data_scale, sigma, precision):
    generator = torch.Generator().manual_seed(0)
    x = data_scale * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    z = torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    return denoising_score_matching(quadratic(precision), x, z, sigma)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("data_scale", "sigma"), [(1.0, 0.5), (0.6, 0.1), (2.0, 1.0)])
@pytest.mark.parametrize("precision", [0.3, 1.0, 2.5])
def test_expected_loss(shape, data_scale, sigma, precision):
    """½ D [σ²λ²(s² + σ²) - 2σ²λ + 1]."""
    values = losses(shape, data_scale, sigma, precision).detach()
    dimension = math.prod(shape)
    expected = dimension / 2 * (sigma**2 * precision**2 * (data_scale**2 + sigma**2) - 2 * sigma**2 * precision + 1)
    assert values.shape == (N,)
    assert abs(float(values.mean()) - expected) < 5 * float(values.std()) / math.sqrt(N)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_optimum_is_the_smoothed_density(shape):
    data_scale, sigma = 0.8, 0.5
    optimum = 1 / (data_scale**2 + sigma**2)
    precision = torch.tensor(optimum, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(losses(shape, data_scale, sigma, precision).mean(), precision)
    assert abs(float(slope)) < 0.02 * math.prod(shape)
    at_optimum = float(losses(shape, data_scale, sigma, optimum).detach().mean())
    for factor in (0.5, 0.8, 1.25, 2.0, -1.0):
        assert float(losses(shape, data_scale, sigma, factor * optimum).detach().mean()) > at_optimum


def test_differs_from_the_fisher_divergence_by_a_constant():
    """σ²·½E‖∇E - ∇(-log q_σ)‖² + const for energies that are no Gaussian's."""
    sigma, data_scale = 0.4, 1.0
    generator = torch.Generator().manual_seed(1)
    x = data_scale * torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    z = torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    noisy = x + sigma * z
    variance = data_scale**2 + sigma**2
    constant = []
    for a in (0.0, 0.5, 1.0):
        loss = denoising_score_matching(lambda y, a=a: (a * y.sin() + y.square() / 3).sum(1), x, z, sigma).mean()
        fisher = (a * noisy.cos() + 2 * noisy / 3 - noisy / variance).square().mean() / 2
        constant.append(float(loss - sigma**2 * fisher))
    assert max(constant) - min(constant) < 0.005
    assert constant[0] == pytest.approx(0.5 * (1 - sigma**2 / variance), abs=0.005)
