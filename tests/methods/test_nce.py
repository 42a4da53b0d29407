"""Noise contrastive estimation against closed forms: the optimum is the truth and c is log Z."""

import math

import pytest
import torch

from ebmpipe.methods.nce import contrast

SHAPES = [(1,), (2,), (10,), (1, 2, 2)]


def log_normal(x, variance):
    return (-(x**2) / (2 * variance) - math.log(2 * math.pi * variance) / 2).flatten(1).sum(1)


def objective(precision, log_partition, shape, ratio, n=20_000, data_variance=0.6, noise_variance=1.0):
    generator = torch.Generator().manual_seed(0)
    x = math.sqrt(data_variance) * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    y = math.sqrt(noise_variance) * torch.randn(n * ratio, *shape, generator=generator, dtype=torch.float64)

    def log_ratio(v):
        return -precision * v.flatten(1).square().sum(1) / 2 - log_partition - log_normal(v, noise_variance)

    on_data, on_noise = contrast(log_ratio(x), log_ratio(y), ratio)
    return on_data, ratio * on_noise


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ratio", [1, 3])
def test_the_truth_is_the_optimum_and_c_is_log_z(shape, ratio):
    dimension = math.prod(shape)
    truth = (1 / 0.6, dimension / 2 * math.log(2 * math.pi * 0.6))
    precision, log_partition = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in truth)
    on_data, on_noise = objective(precision, log_partition, shape, ratio)
    slopes = torch.autograd.grad(on_data.mean() + on_noise.mean(), (precision, log_partition))
    # Standard deviations of the per-example derivatives are below D and ν; five standard errors of 20,000 examples.
    for slope in slopes:
        assert abs(float(slope)) < 5 * 2 * ratio * dimension / math.sqrt(20_000)
    best = float(on_data.mean() + on_noise.mean())
    for a, c in [(0.7, 0.0), (1.4, 0.0), (1.0, 0.5), (1.0, -0.5), (-1.0, 0.0)]:
        parts = objective(a * truth[0], truth[1] + c, shape, ratio)
        assert float(parts[0].mean() + parts[1].mean()) > best


def test_newton_from_a_wrong_start_finds_log_z():
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def loss(p):
        return sum(part.mean() for part in objective(p[0], p[1], (1,), 4, n=100_000))

    for _ in range(8):
        slope = torch.autograd.functional.jacobian(loss, parameters)
        curvature = torch.autograd.functional.hessian(loss, parameters)
        parameters = parameters - torch.linalg.solve(curvature, slope)
    assert float(parameters[0]) == pytest.approx(1 / 0.6, rel=0.02)
    assert float(parameters[1]) == pytest.approx(math.log(2 * math.pi * 0.6) / 2, abs=0.02)


def test_value_where_data_and_noise_cannot_be_told_apart():
    on_data, on_noise = contrast(torch.zeros(3), torch.zeros(6), 2)
    torch.testing.assert_close(on_data, torch.full((3,), math.log(3.0)))
    torch.testing.assert_close(on_noise, torch.full((6,), math.log(1.5)))


def test_extreme_logits_stay_finite():
    on_data, on_noise = contrast(torch.tensor([-1e4, 1e4]), torch.tensor([-1e4, 1e4]), 1)
    assert on_data.tolist() == [1e4, 0.0]
    assert on_noise.tolist() == [0.0, 1e4]
