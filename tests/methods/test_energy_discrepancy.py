"""Energy discrepancy against closed forms: sign, optimum for any number of copies, the precision of a Gaussian, its relatives."""

import math

import pytest
import torch

from ebmpipe.methods.conditional_nce import conditional_contrast
from ebmpipe.methods.energy_discrepancy import energy_discrepancy

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N, VARIANCE = 50_000, 0.6


def loss(shape, precision, scale=0.5, copies=3, stabiliser=1.0, n=N):
    """That of N(0, 1/precision) on data of variance 0.6."""
    generator = torch.Generator().manual_seed(0)
    x = VARIANCE**0.5 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    z = torch.randn(1 + copies, n, *shape, generator=generator, dtype=torch.float64)
    here = precision * x.flatten(1).square().sum(1) / 2
    there = precision * (x + scale * (z[:1] + z[1:])).flatten(2).square().sum(2) / 2
    return energy_discrepancy(here, there, stabiliser)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("scale", "copies"), [(0.2, 1), (0.5, 3), (2.0, 8)])
def test_the_truth_is_the_optimum_whatever_the_noise_and_the_copies(shape, scale, copies):
    each = torch.full((N,), 1 / VARIANCE, dtype=torch.float64, requires_grad=True)
    values = loss(shape, each, scale, copies)
    assert values.shape == (N,)
    (slopes,) = torch.autograd.grad(values.sum(), each)
    assert abs(float(slopes.mean())) < 5 * float(slopes.std()) / math.sqrt(N)
    best = float(values.mean().detach())
    for factor in (0.5, 2.0, -1.0):
        assert float(loss(shape, factor / VARIANCE, scale, copies).mean()) > best


@pytest.mark.parametrize("shape", SHAPES)
def test_it_recovers_the_precision_of_a_gaussian(shape):
    """Newton's method on the mean of a fixed sample, which is convex in the precision, from far off."""
    precision = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for _ in range(12):
        (first,) = torch.autograd.grad(loss(shape, precision, scale=0.7, n=20_000).mean(), precision, create_graph=True)
        (second,) = torch.autograd.grad(first, precision)
        assert float(second) > 0
        with torch.no_grad():
            precision -= (first / second).detach().clamp(-0.5, 0.5)
    assert float(precision.detach()) == pytest.approx(1 / VARIANCE, rel=0.05)


def test_without_its_stabiliser_few_copies_have_another_optimum_and_many_come_to_the_truth():
    """-E log of a mean of M is above minus the logarithm of what it estimates, by less the larger M is."""

    def slope(copies, stabiliser):
        each = torch.full((20_000,), 1 / VARIANCE, dtype=torch.float64, requires_grad=True)
        (slopes,) = torch.autograd.grad(loss((1,), each, 1.0, copies, stabiliser, 20_000).sum(), each)
        return float(slopes.mean()), float(slopes.std()) / math.sqrt(20_000)

    few, many, error = slope(1, 0.0)[0], slope(256, 0.0)[0], slope(1, 0.0)[1]
    assert few < -10 * error
    assert abs(many) < abs(few) / 10


def test_of_one_copy_it_is_half_of_conditional_nce():
    generator = torch.Generator().manual_seed(1)
    here, there = torch.randn(2, 20, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(energy_discrepancy(here, there[None], 1.0), conditional_contrast(here, there) / 2)


def test_values():
    here, there = torch.tensor([0.0, 1.0]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert energy_discrepancy(here, there, 0.0).tolist() == pytest.approx([0.0, math.log((1 + math.exp(2)) / 2)])
    assert energy_discrepancy(here, there, 1.0).tolist() == pytest.approx([math.log(1.5), math.log((2 + math.exp(2)) / 2)])


def test_extreme_energies_stay_finite():
    far = energy_discrepancy(torch.tensor([1e4, -1e4]), torch.zeros(2, 2), 1.0)
    assert far.tolist() == pytest.approx([1e4, -math.log(2)])
