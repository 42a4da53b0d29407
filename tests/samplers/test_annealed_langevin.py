"""Annealed Langevin dynamics: its schedule step by step, the law of each level, and which modes its chains reach."""

import math

import pytest
import torch

from ebmpipe import registry
from ebmpipe.config import KernelConfig, NetworkConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import Tempered, value_and_gradient
from ebmpipe.methods import build
from ebmpipe.methods.base import build_sampling_kernel
from ebmpipe.samplers import ULA, AnnealedLangevin, run
from ebmpipe.samplers.annealed_langevin import widened

START = torch.tensor([-3.0, 0.0])


def gaussian(x):
    return x.flatten(1).square().sum(1) / 2


class Smoothed:
    """A Gaussian of variance s² = 0.3² smoothed by noise of deviation 0.4 w: noise-conditional, with its gradient by hand."""

    def __init__(self, width=1.0):
        self.variance = 0.3**2 + (0.4 * width) ** 2

    def at_width(self, width):
        return Smoothed(width)

    def __call__(self, x):
        return x.flatten(1).square().sum(1) / (2 * self.variance)

    def grad(self, x):
        return x / self.variance


class Mixture:
    """Gaussians of variance 0.09 at (-3, 0) and (3, 0) smoothed by noise of deviation 0.3 w; ``weight`` is the right one's."""

    centres = torch.stack([START, -START])

    def __init__(self, weight, width=1.0):
        self.weight, self.variance = weight, 0.09 * (1 + width**2)

    def parts(self, x):
        away = x[:, None] - self.centres
        return torch.tensor([1 - self.weight, self.weight]).log() - away.square().sum(2) / (2 * self.variance), away

    def __call__(self, x):
        return -self.parts(x)[0].logsumexp(1)

    def grad(self, x):
        logits, away = self.parts(x)
        return (logits.softmax(1)[:, :, None] * away).sum(1) / self.variance


class NoiseConditional(Mixture):
    """The same, which also offers its wider levels."""

    def at_width(self, width):
        return Mixture(self.weight, width)


def right(x):
    return float((x[:, 0] > 0).double().mean())


def test_the_widths_fall_geometrically_to_one():
    assert AnnealedLangevin(0.1, 8.0, 4).widths == pytest.approx([8, 4, 2, 1])
    assert AnnealedLangevin(0.1, 8.0, 1).widths == [1]


@pytest.mark.parametrize("kernel", [AnnealedLangevin(0.4, 1.0, 3, 2), AnnealedLangevin(0.4, 9.0, 1, 2)])
def test_without_wider_levels_it_is_ula(kernel):
    x = torch.randn(5, 3)
    annealed, _ = run(kernel, gaussian, x, 9, torch.Generator().manual_seed(0))
    plain, _ = run(ULA(0.4), gaussian, x, 9, torch.Generator().manual_seed(0))
    assert torch.equal(annealed, plain)


def test_each_level_of_a_plain_energy_is_ula_with_more_noise():
    """E/w² at step ε w: the drift of E at step ε, the noise w times as large; after the last level, ULA."""
    x = torch.randn(5, 3, dtype=torch.float64)
    annealed, _ = run(AnnealedLangevin(0.4, 4.0, 3, 2), gaussian, x, 9, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    for width, steps in [(4, 2), (2, 2), (1, 5)]:
        x, _ = run(ULA(0.4, 0.4 * width), gaussian, x, steps, generator)
    torch.testing.assert_close(annealed, x)


def test_each_level_of_a_noise_conditional_energy_has_a_step_in_proportion_to_its_noise():
    """α_i = ε² σ_i² / σ_L² (Song & Ermon 2019, algorithm 1), in x ← x - (α_i/2) ∇E(x, σ_i) + √α_i z."""
    x = torch.randn(5, 3, dtype=torch.float64)
    annealed, _ = run(AnnealedLangevin(0.3, 4.0, 3, 2), Smoothed(), x, 9, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    for width in [4, 4, 2, 2, 1, 1, 1, 1, 1]:
        alpha = 0.3**2 * width**2
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = x - alpha / 2 * x / (0.09 + (0.4 * width) ** 2) + math.sqrt(alpha) * z
    torch.testing.assert_close(annealed, x)


def test_the_clock_goes_on_in_the_state_and_anew_from_positions():
    x, kernel = torch.randn(5, 3), AnnealedLangevin(0.3, 5.0, 4, 3)
    whole, _ = run(kernel, gaussian, x, 14, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    _, summary = run(kernel, gaussian, x, 7, generator)
    assert summary.state.memory == 7
    half = generator.clone_state()
    again, _ = run(kernel, gaussian, summary.state, 7, generator)
    anew, _ = run(kernel, gaussian, summary.state.x, 7, half)
    assert torch.equal(again, whole)
    assert not torch.allclose(anew, whole)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 4, 4)])
def test_the_variance_at_the_first_level_and_at_the_end(shape):
    """Of both kinds of energy: ULA's at each level's own step and variance."""
    n, step, width = 20_000 // math.prod(shape), 0.3, 3.0
    for energy, wide, narrow in [(gaussian, 9.0, 1.0), (Smoothed(), Smoothed(3.0).variance, Smoothed().variance)]:
        generator = torch.Generator().manual_seed(0)
        kernel = AnnealedLangevin(step, width, 2, 150)
        x, summary = run(kernel, energy, torch.zeros(n, *shape, dtype=torch.float64), 150, generator)
        end, _ = run(kernel, energy, summary.state, 150, generator)
        for values, variance, epsilon in [(x, wide, step * width), (end, narrow, step)]:
            expected = variance / (1 - epsilon**2 / (4 * variance))
            assert abs(float(values.var()) - expected) < 5 * expected * math.sqrt(2 / values.numel())


@pytest.mark.parametrize(
    ("energy", "expected", "tolerance"),
    [(Mixture(0.5), 0.5, 0.05), (NoiseConditional(0.5), 0.5, 0.05), (NoiseConditional(0.7), 0.7, 0.05)],
    ids=["tempered", "noise-conditional", "noise-conditional, unequal"],
)
def test_mode_weights_from_a_start_in_one_mode(energy, expected, tolerance):
    """Where ULA at the same cost never leaves it. The levels are not run to equilibrium: a tolerance beside the error of sampling."""
    n = 2000
    start = START.repeat(n, 1)
    annealed, summary = run(AnnealedLangevin(0.25, 20.0, 10, 20), energy, start, 200, torch.Generator().manual_seed(0))
    plain, same = run(ULA(0.25), energy, start, 200, torch.Generator().manual_seed(0))
    assert summary.gradient_evaluations == same.gradient_evaluations
    assert right(plain) == 0
    assert abs(right(annealed) - expected) < tolerance + 5 * math.sqrt(0.25 / n)


def test_a_temperature_evens_out_unequal_modes():
    """The bias that the class warns of: at high temperature weights are about equal, and stay so."""
    annealed, _ = run(AnnealedLangevin(0.25, 20.0, 10, 20), Mixture(0.8), START.repeat(2000, 1), 200, torch.Generator().manual_seed(0))
    assert 0.4 < right(annealed) < 0.7


def test_a_tempered_energy_and_its_gradient():
    x = torch.randn(4, 3, dtype=torch.float64)
    tempered = Tempered(lambda v: (v**4).sum(1), 5.0)
    value, slope = value_and_gradient(lambda v: tempered(v), x)
    torch.testing.assert_close(value, (x**4).sum(1) / 5)
    torch.testing.assert_close(tempered.grad(x), slope)
    torch.testing.assert_close(tempered.value_and_grad(x), (value, slope))
    assert widened(gaussian, 1.0) is gaussian


@pytest.mark.parametrize("bad", [{"step_size": -1.0}, {"width": 0.9}, {"width": math.nan}, {"levels": 0}, {"steps_per_level": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="needs step_size > 0, width >= 1, levels >= 1 and steps_per_level >= 1"):
        AnnealedLangevin(**{"step_size": 0.5} | bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        AnnealedLangevin.settings_model().model_validate({"step_size": 0.5} | bad)


@pytest.mark.parametrize("energy", [gaussian, Smoothed()])
def test_the_temperature_reported_is_that_of_the_last_step(energy):
    """Levels of widths 4, 2 and 1, of two steps each; a run of no steps has that of the state it is given."""
    kernel = AnnealedLangevin(0.3, 4.0, 3, 2)
    generator, state = torch.Generator().manual_seed(0), torch.randn(5, 2)
    for steps, temperature in [(0, 16), (1, 16), (1, 16), (0, 16), (1, 4), (1, 4), (0, 4), (1, 1), (7, 1)]:
        _, summary = run(kernel, energy, state, steps, generator)
        state = summary.state
        assert summary.temperature == pytest.approx(temperature)
    assert run(kernel, energy, torch.randn(5, 2), 4, generator)[1].temperature == pytest.approx(4)
    assert run(kernel, energy, torch.randn(5, 2), kernel.steps_to_target + 1, generator)[1].temperature == 1


def test_the_steps_before_the_target():
    assert AnnealedLangevin(0.1, 8.0, 4, 5).steps_to_target == 15
    assert (
        AnnealedLangevin(0.1, 8.0, 1, 5).steps_to_target
        == AnnealedLangevin(0.1, 1.0, 4, 5).steps_to_target
        == ULA(0.1).steps_to_target
        == 0
    )


class TestRunsThatEndTooEarly:
    KERNEL = KernelConfig(name="annealed_langevin", settings={"step_size": 0.1, "levels": 4, "steps_per_level": 5})

    def test_in_training(self, prepared):
        def built(steps):
            settings = {"steps": steps, "kernel": self.KERNEL.model_dump()}
            network = NetworkConfig(settings={"width": 8})
            config = registry.load("methods", "pcd").Config.model_validate(settings)
            return build("pcd", Prepared(prepared["eight_gaussians"]).spec, config, network=network)

        with pytest.raises(ValueError, match=r"annealed_langevin comes to its target after 15 steps.*take at least 16 steps"):
            _ = built(15).gradient_evaluations_per_step
        method = built(16)
        assert method.gradient_evaluations_per_step == method.config.batch_size * (16 + 2) and method.temperature == 1

    def test_in_sampling(self):
        with pytest.raises(ValueError, match=r"annealed_langevin comes to its target after 15 steps.*take at least 16 steps"):
            build_sampling_kernel(SamplingConfig(steps=15, kernel=self.KERNEL))
        assert build_sampling_kernel(SamplingConfig(steps=16, kernel=self.KERNEL)).steps_to_target == 15
