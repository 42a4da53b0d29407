"""Minimum probability flow against closed forms: sign, optimum, value. Its limit for little noise: tests/theorems."""

import math

import pytest
import torch

from ebmpipe.methods.minimum_probability_flow import probability_flow

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N, VARIANCE = 200_000, 0.6


def pairs(shape, sigma):
    """‖x‖² and ‖x'‖² of draws of N(0, v) and of the same with noise."""
    generator = torch.Generator().manual_seed(0)
    x = VARIANCE**0.5 * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    noisy = x + sigma * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    return tuple(y.flatten(1).square().sum(1) for y in (x, noisy))


def flows(shape, sigma, precision):
    return probability_flow(*(precision * square / 2 for square in pairs(shape, sigma)))


def exact(shape, sigma, precision):
    """Its mean over N(0, v) and noise σ: a Gaussian integral in x and x', (1 + σ²λ/2 - vσ²λ²/4)^(-D/2)."""
    return (1 + sigma**2 * precision / 2 - VARIANCE * sigma**2 * precision**2 / 4) ** (-math.prod(shape) / 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
def test_its_mean_at_the_truth_is_the_closed_form_and_the_least(shape, sigma):
    truth = torch.tensor(1 / VARIANCE, dtype=torch.float64, requires_grad=True)
    values = flows(shape, sigma, truth)
    assert values.shape == (N,)
    # The second moment at the truth is one: E_p exp(E(x) - E(x')) for a symmetric law of neighbours.
    closed = exact(shape, sigma, 1 / VARIANCE)
    assert abs(float(values.mean().detach()) - closed) < 5 * math.sqrt((1 - closed**2) / N)
    # That λ = 1/v is a minimum of the mean, and the only one, is the closed form's: a parabola in λ below a negative power.
    for factor in (0.5, 0.9, 1.1, 1.5):
        assert exact(shape, sigma, factor / VARIANCE) > closed
    # And the samples' own slope vanishes there, within five standard errors.
    here, there = pairs(shape, sigma)
    slopes = values.detach() * (here - there) / 4
    (slope,) = torch.autograd.grad(values.mean(), truth)
    assert float(slope) == pytest.approx(float(slopes.mean()), rel=1e-9, abs=1e-12)
    assert abs(float(slope)) < 5 * float(slopes.std()) / math.sqrt(N)


@pytest.mark.parametrize("factor", [0.7, 1.2])
def test_its_mean_away_from_the_truth_is_the_closed_form(factor):
    values = flows((2,), 0.3, factor / VARIANCE)
    assert float(values.mean()) == pytest.approx(exact((2,), 0.3, factor / VARIANCE), abs=5 * float(values.std()) / math.sqrt(N))


def test_values():
    found = probability_flow(torch.tensor([0.0, -2.0, 2.0]), torch.zeros(3)).tolist()
    assert found == pytest.approx([1.0, math.exp(-1), math.exp(1)])
