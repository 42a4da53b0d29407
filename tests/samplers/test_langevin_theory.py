"""Langevin kernels against closed forms. Tolerances are five standard errors of the estimates."""

import math

import pytest
import torch

from ebmpipe.samplers import MALA, ULA, run

CHAINS = 20_000


def gaussian(scale):
    return lambda x: x.flatten(1).square().sum(1) / (2 * scale**2)


def stationary(kernel, energy, shape, steps, start_scale, chains=CHAINS):
    generator = torch.Generator().manual_seed(0)
    x = start_scale * torch.randn(chains, *shape, generator=generator, dtype=torch.float64)
    return run(kernel, energy, x, steps, generator)


@pytest.mark.parametrize(("scale", "step"), [(0.7071, 0.6325), (1.0, 0.5), (2.0, 1.0)])
@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2, 2)])
def test_ula_stationary_variance(scale, step, shape):
    x, _ = stationary(ULA(step), gaussian(scale), shape, 100, scale)
    expected = scale**2 / (1 - step**2 / (4 * scale**2))
    assert abs(float(x.var()) - expected) < 5 * expected * math.sqrt(2 / x.numel())


def test_a_hundred_thousand_chains():
    x, summary = stationary(ULA(0.5), gaussian(1.0), (2,), 40, 1.0, chains=100_000)
    expected = 1 / (1 - 0.5**2 / 4)
    assert x.shape == (100_000, 2)
    assert abs(float(x.var()) - expected) < 5 * expected * math.sqrt(2 / x.numel())
    assert summary.gradient_evaluations == 40 * 100_000


@pytest.mark.parametrize("noise", [0.1, 0.5, 0.9])
def test_ula_at_another_temperature(noise):
    scale, step = 1.0, 0.5
    kernel = ULA(step, noise)
    x, summary = stationary(kernel, gaussian(scale), (2,), 100, scale)
    expected = noise**2 / (1 - (1 - step**2 / (2 * scale**2)) ** 2)
    assert abs(float(x.var()) - expected) < 5 * expected * math.sqrt(2 / x.numel())
    assert summary.temperature == pytest.approx((noise / step) ** 2)


def quadratic(x):
    """Its gradient is x."""
    return x.flatten(1).square().sum(1) / 2


@pytest.mark.parametrize(("clip", "fraction"), [(0.5, 5 / 6), (1.5, 4 / 6), (2.5, 2 / 6), (3.0, 0.0), (10.0, 0.0)])
def test_the_fraction_of_coordinates_that_ula_clips(clip, fraction):
    """Of coordinates of either sign; one that is as large as the clip is not beyond it. Over several steps, their mean."""
    x = torch.tensor([[-3.0, 1.0], [2.0, -2.0], [0.0, 3.0]], dtype=torch.float64)
    kernel, generator = ULA(0.4, clip=clip), torch.Generator().manual_seed(0)
    moved, summary = run(kernel, quadratic, x, 1, generator)
    assert summary.clipped == pytest.approx(fraction)
    _, both = run(kernel, quadratic, x, 2, torch.Generator().manual_seed(0))
    assert both.clipped == pytest.approx((fraction + float((moved.abs() > clip).double().mean())) / 2)


@pytest.mark.parametrize("noise", [None, 0.0, 0.05])
def test_ula_moves_by_the_clipped_gradient(noise):
    step, clip = 0.6, 0.8
    x = 2 * torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved, summary = run(ULA(step, noise, clip), quadratic, x, 1, torch.Generator().manual_seed(0))
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    expected = x - step**2 / 2 * x.clamp(-clip, clip) + (step if noise is None else noise) * z
    torch.testing.assert_close(moved, expected)
    assert 0 < summary.clipped < 1


def test_a_clip_beyond_all_gradients_changes_nothing():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    clipped, summary = run(ULA(0.4, clip=100.0), quadratic, x, 20, torch.Generator().manual_seed(0))
    plain, _ = run(ULA(0.4), quadratic, x, 20, torch.Generator().manual_seed(0))
    assert torch.equal(clipped, plain) and summary.clipped == 0


@pytest.mark.parametrize(("shape", "step"), [((1,), 1.2), ((2,), 1.2), ((10,), 0.8), ((1, 4, 4), 0.7)])
def test_mala_is_exact(shape, step):
    """Moments of a Gaussian, from a start at the wrong scale, at a step where ULA's bias would show."""
    x, summary = stationary(MALA(step), gaussian(1.0), shape, 150, 0.5, chains=8000)
    values = x.flatten(1)
    assert abs(float(values.mean())) < 5 / math.sqrt(values.numel())
    assert abs(float(values.var()) - 1) < 5 * math.sqrt(2 / values.numel())
    assert 0.4 < summary.acceptance < 0.95


@pytest.mark.parametrize("dimension", [1, 2, 10])
def test_mala_acceptance_follows_the_step(dimension):
    assert stationary(MALA(0.01), gaussian(1.0), (dimension,), 5, 1.0, 500)[1].acceptance > 0.99
    assert stationary(MALA(10.0), gaussian(1.0), (dimension,), 5, 1.0, 500)[1].acceptance < 0.1


def test_mala_satisfies_detailed_balance():
    """From the target, (x, x') and (x', x) have one law: every antisymmetric statistic vanishes."""

    def quartic(x):
        return (x**4 / 4 - x**2 / 2).flatten(1).sum(1)

    generator = torch.Generator().manual_seed(0)
    grid = torch.linspace(-4, 4, 20_001, dtype=torch.float64)
    weights = (-quartic(grid[:, None])).softmax(0)
    x = grid[torch.multinomial(weights, 200_000, replacement=True, generator=generator)][:, None]
    moved, _ = run(MALA(0.9), quartic, x, 1, generator)
    for f, g in [(torch.sin, torch.exp), (torch.tanh, torch.square)]:
        antisymmetric = f(x) * g(moved) - f(moved) * g(x)
        assert abs(float(antisymmetric.mean())) < 5 * float(antisymmetric.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_mala_never_enters_where_the_energy_is_not_finite(bad):
    def half_line(x):
        return torch.where(x[:, 0] > 0, x[:, 0], torch.full_like(x[:, 0], bad))

    x, _ = run(MALA(1.0), half_line, torch.ones(500, 1), 50, torch.Generator().manual_seed(0))
    assert (x > 0).all()


@pytest.mark.parametrize("wrong", [lambda x: x.square().sum(), lambda x: x.square()])
def test_an_energy_of_another_shape_is_refused(wrong):
    """One number for all chains would accept or reject them together; ULA, which sees gradients alone, would even run."""
    with pytest.raises(ValueError, match="one number for each"):
        run(ULA(0.1), wrong, torch.zeros(5, 2), 1, torch.Generator().manual_seed(0))
