"""Diffusion recovery likelihood against closed forms: the conditional of a Gaussian, the slope at the truth, its sign, own samples."""

import math
from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork, gaussian_of

from ebmpipe import registry, samplers
from ebmpipe.config import NetworkConfig, SamplingConfig
from ebmpipe.energies import BASE_WIDTH
from ebmpipe.methods import build
from ebmpipe.methods.diffusion_recovery import Recovery
from ebmpipe.samplers.mala import MALA
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
MEAN, STD, SIGMA = 0.7, 0.8, 0.3
#: Of the law that the energy is before its first update: that of the base.
TRUTH = BASE_WIDTH * STD


def made(shape, settings=None):
    """One whose energy is that of N(MEAN, TRUTH²) with noise, at every level, before its first update."""
    spec = DataSpec("gaussian", "images" if len(shape) == 3 else "vectors", shape, MEAN, STD, None, None, None, Path())
    kernel = {"name": "mala", "settings": {"step_size": 0.7}}
    settings = {"sigma": SIGMA, "widest": 2.0, "levels": 3, "steps": 30, "kernel": kernel, "batch_size": 2000} | (settings or {})
    return build("diffusion_recovery", spec, settings, network=NetworkConfig(name=QuadraticNetwork.name), iterations=100)


def correlated(dimension):
    """Mean (D,) and covariance (D, D)."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    return torch.randn(dimension, generator=generator, dtype=torch.float64), root @ root.T / dimension + 0.2 * torch.eye(
        dimension, dtype=torch.float64
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gap", [0.1, 0.6, 3.0])
def test_the_conditional_of_a_gaussian_is_bayes_rule(shape, gap):
    """Of x ~ N(m, C) and x̃ = x + δu, p(x | x̃) has covariance S = (C⁻¹ + I/δ²)⁻¹ and mean S (C⁻¹ m + x̃/δ²)."""
    dimension, n = math.prod(shape), 5
    mean, covariance = correlated(dimension)
    precision = covariance.inverse()
    noisier = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def energy(x):
        y = x.flatten(1) - mean
        return ((y @ precision) * y).sum(1) / 2

    recovery = Recovery(energy, noisier, torch.full((n,), gap, dtype=torch.float64))
    posterior = (precision + torch.eye(dimension, dtype=torch.float64) / gap**2).inverse()
    expected = (posterior @ (precision @ mean + noisier.flatten(1) / gap**2).T).T.view(n, *shape)
    at_mean = (noisier - expected) / gap
    torch.testing.assert_close(recovery.place(at_mean), expected)
    assert float(recovery.grad(at_mean).abs().max()) < 1e-9
    # The gradient is linear: its differences along coordinates are the Hessian, in units of δ.
    for axis in torch.eye(dimension, dtype=torch.float64):
        row = recovery.grad(at_mean + axis.view(1, *shape)).flatten(1)
        torch.testing.assert_close(row, (gap**2 * posterior.inverse() @ axis).expand(n, -1))


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradients_agree(shape):
    recovery = Recovery(lambda x: x.flatten(1).sin().sum(1), torch.randn(4, *shape).double(), torch.tensor([0.1, 0.5, 1.0, 2.0]).double())
    u = torch.randn(4, *shape).double().requires_grad_(True)
    (by_autograd,) = torch.autograd.grad(recovery(u).sum(), u)
    value, slope = recovery.value_and_grad(u.detach())
    torch.testing.assert_close(value, recovery(u.detach()))
    torch.testing.assert_close(slope, by_autograd)
    torch.testing.assert_close(recovery.grad(u.detach()), by_autograd)


def test_chains_of_the_conditional_have_its_mean_and_variance():
    n, variance, gap, place = 40_000, 0.5, 1.2, 2.0
    recovery = Recovery(lambda x: x.square().sum(1) / (2 * variance), torch.full((n, 2), place), torch.full((n,), gap))
    u, _ = samplers.run(MALA(0.8), recovery, torch.zeros(n, 2), 40, torch.Generator().manual_seed(0))
    x = recovery.place(u)
    expected = 1 / (1 / variance + 1 / gap**2)
    assert float(x.mean()) == pytest.approx(expected * place / gap**2, abs=5 * (expected / n) ** 0.5)
    assert float(x.var()) == pytest.approx(expected, rel=5 * n**-0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_of_the_loss_is_zero_at_the_truth(shape):
    """Whatever the level of each example: over updates that move nothing, gradients have mean zero."""
    method = made(shape, {"optimiser": {"learning_rate": 1e-12, "betas": (0.0, 0.99)}})
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(20):
        method.training_step(MEAN + TRUTH * torch.randn(2000, *shape, generator=generator), generator)
        found.append(torch.cat([moment.flatten() for moment in method.learner.moments("first_moment")]))
    slopes = torch.stack(found).double()
    assert bool((slopes.mean(0).abs() < 5 * slopes.std(0) / len(slopes) ** 0.5 + 1e-12).all())


def divergence(energy, shape, std):
    """KL of N(MEAN, std²) with noise SIGMA from the Gaussian law of an energy, nats."""
    mean, covariance = gaussian_of(energy, shape)
    dimension, variance, solved, off = len(mean), std**2 + SIGMA**2, covariance.inverse(), mean - MEAN
    twice = variance * solved.trace() + off @ solved @ off - dimension + torch.logdet(covariance) - dimension * math.log(variance)
    return float(twice / 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_one_update_towards_narrower_or_wider_data_lowers_the_divergence(shape, factor):
    method = made(shape, {"optimiser": {"learning_rate": 0.01}})
    std, generator = factor * TRUTH, torch.Generator().manual_seed(0)
    before = divergence(method.live.at(SIGMA), shape, std)
    method.training_step(MEAN + std * torch.randn(2000, *shape, generator=generator), generator)
    assert divergence(method.live.at(SIGMA), shape, std) < before


@pytest.mark.parametrize("shape", SHAPES)
def test_its_own_samples_go_down_the_levels(shape):
    """Recovery from N(m, w) in place of the widest level's N(m, v) leaves (v₀/v)² of the difference of variances at the least, v₀."""
    method, n = made(shape), 20_000
    own = method.own_samples(n, torch.Generator().manual_seed(0))
    least, widest = TRUTH**2 + SIGMA**2, TRUTH**2 + (2 * STD) ** 2
    start = STD**2 + (2 * STD) ** 2
    expected = least - (least / widest) ** 2 * (widest - start)
    error = 5 * (n * math.prod(shape)) ** -0.5
    assert own.x.shape == (n, *shape)
    assert float(own.x.mean()) == pytest.approx(MEAN, abs=error * expected**0.5)
    assert float(own.x.var()) == pytest.approx(expected, rel=1.5 * error)
    assert (own.sampler, own.sampler_steps, own.gradient_evaluations) == ("recovery", 3 * 30, n * 3 * 31)


def test_samples_end_with_the_jump_where_that_is_configured():
    method = made((2,))
    method.sampling = SamplingConfig(denoise=True)
    own = method.own_samples(50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(own.x, own.before - SIGMA**2 * method.learner.average.at(SIGMA).grad(own.before))
    assert own.gradient_evaluations == 50 * (3 * 31 + 1)


def test_its_levels_and_the_noise_between_them():
    method = made((2,), {"data_noise": 0.4})
    assert method.widths[0] == pytest.approx(2.0 * STD)
    assert float(method.sigmas[-1]) == pytest.approx(SIGMA)
    torch.testing.assert_close(method.sigmas.square() + method.gaps.square(), torch.tensor(method.widths[:-1]).square())
    assert method.noise_level == pytest.approx(0.5)
    x = torch.randn(3, 2)
    torch.testing.assert_close(method.energy(x), method.learner.average(x, SIGMA))


def test_kernels_that_are_not_at_one_point_of_each_chain_are_refused():
    refused = {name for name, kernel in registry.load_all("samplers").items() if not kernel.one_point_per_chain}
    assert refused == {"nuts", "parallel_tempering"}
    for name in refused:
        with pytest.raises(ValueError, match=f"an energy of its own, .* one point each; {name} does not"):
            made((2,), {"kernel": {"name": name, "settings": {"step_size": 0.5}}})


@pytest.mark.parametrize("name", ["hmc", "mala", "ula", "underdamped_langevin"])
def test_all_other_kernels_move_its_chains(name):
    method = made((2,), {"steps": 3, "batch_size": 20, "kernel": {"name": name, "settings": {"step_size": 0.3}}})
    report = method.training_step(torch.randn(20, 2), torch.Generator().manual_seed(0))
    assert report["gradient_norm"] > 0
    assert method.own_samples(10, torch.Generator().manual_seed(0)).x.isfinite().all()


def test_what_the_kernel_clips_is_reported():
    batch, kernel = torch.randn(20, 2), {"name": "ula", "settings": {"step_size": 0.3}}
    for clip in (None, 0.1):
        kernel["settings"]["clip"] = clip
        method = made((2,), {"steps": 3, "batch_size": 20, "kernel": kernel})
        report = method.training_step(batch, torch.Generator().manual_seed(0))
        assert ("clipped" in report) == (clip is not None)
    assert 0 < report["clipped"] <= 1


def test_a_kernel_of_states_is_refused():
    with pytest.raises(ValueError, match="'gibbs' takes binary, not vectors"):
        made((2,), {"kernel": {"name": "gibbs", "settings": {}}})


def test_a_kernel_of_another_temperature_is_refused():
    with pytest.raises(ValueError, match="diffusion_recovery samples at temperature 1"):
        made((2,), {"kernel": {"name": "ula", "settings": {"step_size": 0.5, "noise_scale": 0.1}}})
