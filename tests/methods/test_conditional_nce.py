"""Conditional NCE against closed forms: sign, optimum, what noise it draws. Its limit for little noise is in tests/theorems."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.methods.conditional_nce import conditional_contrast
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N = 100_000


def loss(shape, variance, sigma, precision):
    generator = torch.Generator().manual_seed(0)
    x = variance**0.5 * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    noisy = x + sigma * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    here, there = (precision * y.flatten(1).square().sum(1) / 2 for y in (x, noisy))
    return conditional_contrast(here, there)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_the_truth_is_the_optimum_whatever_the_noise(shape, sigma):
    variance = 0.6
    precision = torch.tensor(1 / variance, dtype=torch.float64, requires_grad=True)
    values = loss(shape, variance, sigma, precision)
    assert values.shape == (N,)
    (slope,) = torch.autograd.grad(values.mean(), precision)
    # The derivative of one example is at most |‖x‖² - ‖x'‖²|, whose deviation this bounds; five standard errors.
    deviation = math.sqrt(math.prod(shape)) * (sigma**2 * 1.5 + 2 * sigma * variance**0.5)
    assert abs(float(slope)) < 5 * deviation / math.sqrt(N)
    best = float(values.mean())
    for factor in (0.5, 2.0, -1.0):
        assert float(loss(shape, variance, sigma, factor / variance).mean()) > best


def test_values():
    equal, lower, higher = conditional_contrast(torch.tensor([0.0, -3.0, 3.0]), torch.zeros(3)).tolist()
    assert equal == pytest.approx(2 * math.log(2))
    # An example of lower energy than its noisy copy is told from it: the loss is small.
    assert lower == pytest.approx(2 * math.log1p(math.exp(-3)))
    assert higher == pytest.approx(6 + lower)


def test_extreme_energies_stay_finite():
    assert conditional_contrast(torch.tensor([1e4, -1e4]), torch.tensor([0.0, 0.0])).tolist() == [2e4, 0.0]


def test_noise_is_of_the_scales_asked_for_in_units_of_the_datas_deviation():
    spec = DataSpec("made_up", "vectors", (50,), 0.0, 2.0, None, None, None, Path())
    method = build("conditional_nce", spec, {"scales": [0.1, 1.0]}, network=NetworkConfig(settings={"width": 4}))
    seen = []
    method.learner.network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    method.training_step(torch.zeros(400, 50), torch.Generator().manual_seed(0))
    clean, noisy = seen[0].split(400)
    assert clean.abs().max() == 0
    spread = noisy.std(1)
    narrow = spread < 1
    assert float(narrow.double().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(spread[narrow].mean()) == pytest.approx(0.2, rel=0.03)
    assert float(spread[~narrow].mean()) == pytest.approx(2.0, rel=0.03)
