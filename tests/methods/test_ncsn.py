"""Noise conditional score matching against closed forms, and what many levels see that one does not: how much mass each mode has."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe import samplers
from ebmpipe.config import NetworkConfig, SamplingConfig
from ebmpipe.methods import build
from ebmpipe.methods.ncsn import noise_conditional_score_matching
from ebmpipe.samplers.annealed_langevin import AnnealedLangevin
from ebmpipe.samplers.ula import ULA
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
LEVELS = (0.2, 0.7, 2.0)
N = 60_000


def losses(shape, data_scale, factor):
    """At the energies ½ factor ‖x‖²/(s² + σ²), one of three levels for each example; and the levels."""
    generator = torch.Generator().manual_seed(0)
    x = data_scale * torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    z = torch.randn(N, *shape, generator=generator, dtype=torch.float64)
    sigma = torch.tensor(LEVELS, dtype=torch.float64)[torch.arange(N) % 3]
    precision = factor / (data_scale**2 + sigma**2)
    return noise_conditional_score_matching(lambda y: precision * y.flatten(1).square().sum(1) / 2, x, z, sigma), sigma


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("data_scale", [0.5, 1.5])
@pytest.mark.parametrize("factor", [0.4, 1.0, 2.0, -1.0])
def test_expected_loss_of_each_level(shape, data_scale, factor):
    """½ D [σ²λ²(s² + σ²) - 2σ²λ + 1] with λ = factor/(s² + σ²): the least at factor 1."""
    values, sigma = losses(shape, data_scale, factor)
    assert values.shape == (N,)
    for level in LEVELS:
        here = values[sigma == level].detach()
        share = level**2 / (data_scale**2 + level**2)
        expected = math.prod(shape) / 2 * (share * factor**2 - 2 * share * factor + 1)
        assert abs(float(here.mean()) - expected) < 5 * float(here.std()) / len(here) ** 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_optimum_at_every_level_is_the_smoothed_density(shape):
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    values, sigma = losses(shape, 0.8, factor)
    for level in LEVELS:
        (slope,) = torch.autograd.grad(values[sigma == level].mean(), factor, retain_graph=True)
        assert abs(float(slope)) < 0.03 * math.prod(shape)


class TwoModes:
    """-log of Gaussians of standard deviation s at ±m in the plane, with noise σ, the one at +m with weight w."""

    def __init__(self, sigma, weight=0.9, place=4.0, spread=0.3):
        self.sigma, self.settings = sigma, (weight, place, spread)

    def __call__(self, x):
        weight, place, spread = self.settings
        variance = spread**2 + self.sigma**2
        centres = x.new_tensor([[place, 0.0], [-place, 0.0]])
        squares = (x[:, None] - centres).square().sum(2)
        return -(x.new_tensor([weight, 1 - weight]).log() - squares / (2 * variance)).logsumexp(1)

    def at_width(self, width):
        return TwoModes(self.sigma * width, *self.settings)


def test_annealed_langevin_finds_the_weights_that_one_level_misses():
    """With the exact energies, from starts of which half are near either mode."""
    n, sigma, generator = 2000, 0.3, torch.Generator().manual_seed(0)
    start = torch.randn(n, 2, generator=generator).mul_(5.0)
    annealed = AnnealedLangevin(0.4 * sigma, width=8.0 / sigma, levels=10, steps_per_level=40)
    found, _ = samplers.run(annealed, TwoModes(sigma), start, 440, generator)
    stuck, _ = samplers.run(ULA(0.4 * sigma), TwoModes(sigma), start, 440, generator)
    error = (0.9 * 0.1 / n) ** 0.5
    # Three standard errors, and as much again for the levels at which chains cease to cross before they have settled.
    assert abs(float((found[:, 0] > 0).double().mean()) - 0.9) < 6 * error
    assert abs(float((stuck[:, 0] > 0).double().mean()) - 0.5) < 6 * (0.25 / n) ** 0.5
    # Each chain is where the law is: within a mode.
    assert float((found[:, 0].abs() - 4).abs().mean()) < 0.6


WEIGHT, PLACE, SPREAD = 0.8, 4.0, 0.4


def examples(n, generator):
    """Of two modes far apart in the plane, the right one with four fifths of the mass."""
    side = (torch.rand(n, generator=generator) < WEIGHT).float().mul_(2).sub_(1)
    x = SPREAD * torch.randn(n, 2, generator=generator)
    x[:, 0] += PLACE * side
    return x


def trained(name, settings, updates=600):
    x = examples(100_000, torch.Generator().manual_seed(0))
    spec = DataSpec("two_modes", "vectors", (2,), float(x.mean()), float(x.std()), None, None, None, Path())
    settings = {"sigma": 0.2, "batch_size": 256, "optimiser": {"learning_rate": 5e-3, "average_decay": 0.99}} | settings
    method = build(name, spec, settings, network=NetworkConfig(settings={"width": 64, "gain": 3.0}), iterations=updates)
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        method.training_step(examples(256, generator), generator)
    return method


def right(x):
    """Share of positions on the side of the heavier mode."""
    return float((x[:, 0] > 0).double().mean())


def test_trained_on_two_modes_its_own_samples_have_their_weights_and_those_of_one_level_do_not():
    n, generator = 2000, torch.Generator().manual_seed(2)
    many = trained("ncsn", {"widest": 2.0})
    own = many.own_samples(n, generator)
    assert own.sampler == "annealed Langevin"
    assert own.gradient_evaluations == n * own.sampler_steps
    assert abs(right(own.x) - WEIGHT) < 0.05
    assert float((own.x[:, 0].abs() - PLACE).abs().mean()) < 0.8

    one = trained("dsm", {})
    one.sampling = SamplingConfig(n=n, steps=400, kernel={"name": "mala", "settings": {"step_size": 0.4}})
    assert abs(right(one.sample(n, generator).x) - WEIGHT) > 0.15


def test_samples_end_with_the_jump_where_that_is_configured():
    method = trained("ncsn", {}, updates=5)
    method.sampling = SamplingConfig(denoise=True)
    own = method.own_samples(50, torch.Generator().manual_seed(0))
    assert own.before is not None
    torch.testing.assert_close(own.x, own.before - 0.2**2 * method.learner.average.at(0.2).grad(own.before))
    assert own.gradient_evaluations == 50 * (own.sampler_steps + 1)


def test_its_sampler_ends_at_the_least_level_and_stays_there():
    method = trained("ncsn", {"widest": 2.0, "levels": 4, "steps_per_level": 5}, updates=2)
    assert method.widths[0] == pytest.approx(2.0 * method.spec.std)
    assert method.widths[-1] == 0.2
    own = method.own_samples(10, torch.Generator().manual_seed(0))
    assert own.sampler_steps == 5 * 5
    assert own.temperature == 1.0


def test_a_widest_level_below_sigma_is_refused_by_name():
    with pytest.raises(ValueError, match=r"widest level, 0\.01 times the data's deviation .* below sigma, 0\.2"):
        trained("ncsn", {"widest": 0.01}, updates=0)


@pytest.mark.parametrize("seed", range(6))
def test_the_loss_of_the_least_level_is_reported_where_an_example_has_it(seed, monkeypatch):
    spec = DataSpec("gaussian", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    method, seen = build("ncsn", spec, {"batch_size": 4, "levels": 6}, iterations=2), []

    def watched(energy, x, z, sigma):
        seen.append((noise_conditional_score_matching(energy, x, z, sigma), sigma))
        return seen[0][0]

    monkeypatch.setattr("ebmpipe.methods.ncsn.noise_conditional_score_matching", watched)
    generator = torch.Generator().manual_seed(seed)
    report = method.training_step(torch.randn(4, 2, generator=generator), generator)
    ((values, sigma),) = seen
    least = values[sigma == min(method.widths)]
    if len(least):
        assert float(report["loss_of_least_level"]) == pytest.approx(float(least.mean().detach()))
    else:
        assert "loss_of_least_level" not in report
