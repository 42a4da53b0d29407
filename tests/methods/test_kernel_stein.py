"""The kernel Stein discrepancy against its definition, closed forms on Gaussians, and the estimate that metrics make of it."""

import math

import pytest
import torch

from ebmpipe.methods.kernel_stein import radial, squared_kernel_stein_discrepancy
from ebmpipe.metrics.estimators.stein import squared_ksd

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
PROFILES = ["imq", "gaussian"]
VARIANCE = 0.6


def examples(shape, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return VARIANCE**0.5 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def repeated(shape, score, scale, profile, times=200, n=60):
    """Mean of the estimate over fresh batches, and its standard error."""
    values = torch.stack(
        [squared_kernel_stein_discrepancy(x := examples(shape, n, seed), score(x), scale, profile) for seed in range(times)]
    )
    return float(values.mean()), float(values.std()) / math.sqrt(times)


@pytest.mark.parametrize("profile", PROFILES)
def test_derivatives_of_the_radial_profiles(profile):
    r = torch.linspace(0.0, 9.0, 20, dtype=torch.float64, requires_grad=True)
    value, first, second = radial(profile, r)
    (slope,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    torch.testing.assert_close(first, slope)
    torch.testing.assert_close(second, curvature)
    assert float(value[0].detach()) == 1


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_what_its_definition_says_pair_by_pair(shape, profile):
    x, scale = examples(shape, 4), 0.8
    score = torch.sin(3 * x) - x
    dimension, total = x[0].numel(), 0.0

    def k(a, b):
        return radial(profile, (a - b).square().sum() / scale**2)[0]

    for i in range(4):
        for j in range(4):
            if i != j:
                a, b, s, t = (y.flatten() for y in (x[i], x[j], score[i], score[j]))
                of_a, of_b = torch.func.grad(k, argnums=0)(a, b), torch.func.grad(k, argnums=1)(a, b)
                mixed = torch.func.jacfwd(torch.func.grad(k, argnums=0), argnums=1)(a, b).view(dimension, dimension).trace()
                total += float(k(a, b) * (s @ t) + s @ of_b + t @ of_a + mixed)
    assert float(squared_kernel_stein_discrepancy(x, score, scale, profile)) == pytest.approx(total / 12, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_estimate_that_metrics_make(shape):
    x = 1000 + examples(shape, 50)
    score = 1000 - x
    found = float(squared_kernel_stein_discrepancy(x, score, 1.3))
    assert found == pytest.approx(squared_ksd(x.flatten(1).numpy(), score.flatten(1).numpy(), 1.3)[0], rel=1e-9)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_its_mean_is_zero_at_the_truth_and_positive_elsewhere(shape, profile):
    mean, error = repeated(shape, lambda x: -x / VARIANCE, 1.0, profile)
    assert abs(mean) < 5 * error
    for score in (lambda x: -x / VARIANCE / 2, lambda x: -2 * x / VARIANCE, lambda x: 0.5 - x / VARIANCE, lambda x: x / VARIANCE):
        mean, error = repeated(shape, score, 1.0, profile)
        assert mean > 5 * error


@pytest.mark.parametrize("shape", SHAPES)
def test_closed_form_on_gaussians(shape):
    """E (d·d') exp(-‖x - x'‖²/2c²) of d = a(x - m): x - x' and x + x' are independent, coordinate by coordinate."""
    scale, a, shift, dimension = 0.9, 0.7, 0.3, math.prod(shape)
    of_one = (1 + 2 * VARIANCE / scale**2) ** -0.5
    of_square = of_one / (1 / (2 * VARIANCE) + 1 / scale**2)
    product = (2 * VARIANCE * of_one - of_square) / 4
    expected = dimension * a**2 * (product * of_one ** (dimension - 1) + shift**2 * of_one**dimension)
    mean, error = repeated(shape, lambda x: -x / VARIANCE + a * (x - shift), scale, "gaussian", times=400)
    assert mean == pytest.approx(expected, abs=5 * error)
    assert error < expected / 10


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_least_at_the_precision_of_the_data(shape, profile):
    """It is quadratic in the score, so in the precision: the lowest point of the parabola, from a fixed sample."""
    x = examples(shape, 3000)
    precisions = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    values = torch.stack([squared_kernel_stein_discrepancy(x, -p * x, 1.0, profile) for p in precisions])
    _, slope, curvature = torch.linalg.solve(torch.stack([torch.ones(3), precisions, precisions**2], dim=1).double(), values)
    assert float(curvature) > 0
    assert float(-slope / (2 * curvature)) == pytest.approx(1 / VARIANCE, rel=0.1)
