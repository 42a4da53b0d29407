"""Denoising score matching against closed forms on Gaussians: sign, scale and optimum, in several dimensions and on an image shape."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.methods.dsm import controlled_denoising_score_matching, denoising_score_matching
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
FORMS = pytest.mark.parametrize("form", [denoising_score_matching, controlled_denoising_score_matching], ids=["plain", "controlled"])
N = 40_000


def quadratic(precision):
    return lambda x: precision * x.flatten(1).square().sum(1) / 2


def losses(shape, data_scale, sigma, precision, form=denoising_score_matching):
    generator = torch.Generator().manual_seed(0)
    x = data_scale * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    z = torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    return form(quadratic(precision), x, z, sigma)


@FORMS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("data_scale", "sigma"), [(1.0, 0.5), (0.6, 0.1), (2.0, 1.0)])
@pytest.mark.parametrize("precision", [0.3, 1.0, 2.5])
def test_expected_loss(shape, data_scale, sigma, precision, form):
    """½ D [σ²λ²(s² + σ²) - 2σ²λ + 1]."""
    values = losses(shape, data_scale, sigma, precision, form).detach()
    dimension = math.prod(shape)
    expected = dimension / 2 * (sigma**2 * precision**2 * (data_scale**2 + sigma**2) - 2 * sigma**2 * precision + 1)
    assert values.shape == (N,)
    assert abs(float(values.mean()) - expected) < 5 * float(values.std()) / math.sqrt(N)


@FORMS
@pytest.mark.parametrize("shape", SHAPES)
def test_the_optimum_is_the_smoothed_density(shape, form):
    data_scale, sigma = 0.8, 0.5
    optimum = 1 / (data_scale**2 + sigma**2)
    precision = torch.tensor(optimum, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(losses(shape, data_scale, sigma, precision, form).mean(), precision)
    assert abs(float(slope)) < 0.02 * math.prod(shape)
    at_optimum = float(losses(shape, data_scale, sigma, optimum, form).detach().mean())
    for factor in (0.5, 0.8, 1.25, 2.0, -1.0):
        assert float(losses(shape, data_scale, sigma, factor * optimum, form).detach().mean()) > at_optimum


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


def quartic(x):
    flat = x.flatten(1)
    return flat.pow(4).sum(1) / 4 + (flat * flat.roll(1, -1)).sum(1) / 2


def slope_of_quartic(x):
    flat = x.flatten(1)
    return (flat.pow(3) + (flat.roll(1, -1) + flat.roll(-1, -1)) / 2).view(x.shape)


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.01, 0.3])
def test_what_is_taken_off_is_the_control_variate(shape, sigma):
    """(‖z‖² - D)/2 - σ z·∇E(x), of mean zero whatever E is."""
    x, z = normal(50, *shape, seed=2), normal(50, *shape, seed=3)
    difference = denoising_score_matching(quartic, x, z, sigma) - controlled_denoising_score_matching(quartic, x, z, sigma)
    expected = (z.flatten(1).square().sum(1) - math.prod(shape)) / 2 - sigma * (z * slope_of_quartic(x)).flatten(1).sum(1)
    torch.testing.assert_close(difference, expected)


@pytest.mark.parametrize("shape", [(3,), (1, 3, 3)])
def test_standard_deviation_for_small_noise(shape):
    """In units of σ², in which the loss tells models apart, it is bounded with the control variate, and of order σ⁻² without.

    Of gradients in the weights, here one factor on the energy of each example, it is of order σ⁻¹ without.
    """
    x, z, sigmas = normal(N, *shape, seed=4), normal(N, *shape, seed=5), [0.1, 0.02, 0.004]
    plain, controlled, gradients = [], [], []
    for sigma in sigmas:
        plain.append(float(denoising_score_matching(quartic, x, z, sigma).detach().std()) / sigma**2)
        losses = controlled_denoising_score_matching(quartic, x, z, sigma).detach()
        controlled.append(float(losses.std()) / sigma**2)
        matched = (losses.mean() - math.prod(shape) / 2) / sigma**2
        assert matched == pytest.approx(float(implicit_score_matching(quartic, x).detach().mean()), rel=10 * sigma + 0.1)
        gradients.append([])
        for form in (denoising_score_matching, controlled_denoising_score_matching):
            factors = torch.ones(N, dtype=torch.float64, requires_grad=True)  # a weight for each example: its own gradient
            scaled = form(lambda y, f=factors: f.repeat(len(y) // N) * quartic(y), x, z, sigma)
            gradients[-1].append(float(torch.autograd.grad(scaled.sum(), factors)[0].std()) / sigma**2)
    assert max(controlled[1:]) < 1.1 * min(controlled[1:])
    assert max(controlled) < 2 * min(controlled)
    for larger, smaller in pairwise(plain):  # σ is a fifth each time
        assert smaller / larger == pytest.approx(5**2, rel=0.3)
    assert plain[2] > 500 * controlled[2]
    assert gradients[2][0] / gradients[1][0] == pytest.approx(5, rel=0.1)
    assert gradients[2][1] / gradients[1][1] == pytest.approx(1, rel=0.1)


def test_an_update_is_of_the_form_that_was_asked_for():
    spec = DataSpec("made_up", "vectors", (3,), 0.0, 1.0, None, None, None, Path())
    x, losses = normal(16, 3, seed=6).float(), []
    for chosen, form in [(False, denoising_score_matching), (True, controlled_denoising_score_matching)]:
        settings = {"sigma": 0.1, "control_variate": chosen, "batch_size": 16}
        method = build("dsm", spec, settings, network=NetworkConfig(settings={"width": 8}))
        z = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
        expected = float(form(method.live, x, z, 0.1).mean().detach())
        losses.append(method.training_step(x, torch.Generator().manual_seed(0))["loss"])
        assert losses[-1] == pytest.approx(expected, rel=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=0.01)


def test_the_level_of_noise_is_that_of_both_noises():
    spec = DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    assert build("dsm", spec, {"sigma": 0.3, "data_noise": 0.4}).noise_level == pytest.approx(0.5)
    assert build("ncsn", spec, {"sigma": 0.3, "data_noise": 0.4}).noise_level == pytest.approx(0.5)
