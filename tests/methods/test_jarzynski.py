"""Weighted walkers: exact along any path of energies and at any step of ULA, and the log Z that they add up."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import GaussianLaw, UniformLaw, on_arrays
from ebmpipe.methods import build
from ebmpipe.methods.walkers import Walkers, effective_fraction, exactly, langevin, systematic
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.optimisation import Diverged
from ebmpipe.samplers.mala import MALA
from ebmpipe.samplers.ula import ULA
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

SPEC = DataSpec("made_up", "density", (2,), 0.0, 1.0, None, None, None, Path())
SMALL = NetworkConfig(settings={"width": 16})
SHAPES = [(1,), (2,), (10,), (1, 3, 3)]


class Tilted:
    """E(x) = |x - m|²/(2 s²) + c: log Z = (D/2) log(2π s²) - c."""

    def __init__(self, shape, mean, sd, offset):
        self.mean, self.sd = torch.full(shape, mean), sd
        self.offset = offset
        self.log_z = math.prod(shape) / 2 * math.log(2 * math.pi * sd**2) - offset

    def __call__(self, x):
        return ((x - self.mean) / self.sd).square().flatten(1).sum(1) / 2 + self.offset

    def value_and_grad(self, x):
        return self(x), (x - self.mean) / self.sd**2


def along_a_path(shape, n, move, updates=8, threshold=0.5, seed=0):
    """Walkers from N(0, 1) along a path of Gaussians that end at mean 0.5 and sd 0.7; the last energy and the walkers there."""
    generator = torch.Generator().manual_seed(seed)
    law = GaussianLaw(shape, 0.0, 1.0)
    walkers = Walkers(law.sample(n, generator), law, threshold, gradients=True)
    for k in range(1, updates + 1):
        energy = Tilted(shape, 0.5 * k / updates, 1 - 0.3 * k / updates, 3.0 * k / updates)
        stretch, _ = walkers.after(move(energy, walkers.stretch.population, generator), generator)
        walkers.put_back(stretch)
    return energy, walkers


def ula(step_size, steps=2):
    return lambda energy, before, generator: langevin(energy, before, step_size, steps, generator)[0]


def mala(energy, before, generator):
    return exactly(MALA(0.5), energy, before, 2, generator)[0]


def estimates(shape, move, runs=16, n=1500, **path):
    """log Z error, weighted mean and weighted mean square about it, of independent runs: (runs, 3)."""
    rows = []
    for seed in range(runs):
        energy, walkers = along_a_path(shape, n, move, seed=seed, **path)
        log_z, _ = walkers.stretch.log_partition()
        w = walkers.stretch.population.weights()
        x = walkers.x.flatten(1).double()
        rows.append([float(log_z) - energy.log_z, float(w @ x.mean(1)), float(w @ (x - 0.5).square().mean(1))])
    return np.array(rows)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("move", [ula(0.3), ula(0.6), mala], ids=["ula", "ula_large", "mala"])
def test_log_z_and_moments_are_exact_along_a_path(shape, move):
    """ULA at ε = 0.6 samples sd 0.7 with a variance 22 % too large; the weights take that off."""
    rows = estimates(shape, move)
    error = rows.std(0, ddof=1) / math.sqrt(len(rows))
    # log Z and self-normalised means are biased by half their variance, which is of the order 1/n.
    slack = rows.var(0, ddof=1)
    assert (np.abs(rows.mean(0) - [0, 0.5, 0.49]) < 5 * error + slack).all(), (rows.mean(0), error)
    assert error.max() < 0.03


@pytest.mark.parametrize("wrong", ["forget the correction", "turn its sign"])
def test_the_correction_matters_at_that_step(wrong):
    """The same check fails where walkers only take up E_k - E_{k+1}, or the kernel's part with the wrong sign."""

    def move(energy, before, generator):
        after = langevin(energy, before, 0.6, 2, generator)[0]
        change = before.energy.double() - after.energy.double()
        kernel_part = after.log_weights - before.log_weights - change
        return after._replace(log_weights=before.log_weights + change - (kernel_part if wrong == "turn its sign" else 0))

    rows = estimates((2,), move, runs=6)
    error = rows.std(0, ddof=1) / math.sqrt(len(rows))
    assert (np.abs(rows.mean(0) - [0, 0.5, 0.49]) > 5 * error + 0.03).any()


def test_weights_estimate_z_itself_without_bias():
    """E[mean e^A] = Z with ten walkers and no resampling, which the log of it hides."""
    runs = [along_a_path((2,), 10, ula(0.5), threshold=0.0, seed=s) for s in range(200)]
    ratio = np.array([math.exp(float(w.stretch.log_partition()[0]) - e.log_z) for e, w in runs])
    assert all(int(w.resamplings) == 0 for _, w in runs)
    assert abs(ratio.mean() - 1) < 5 * ratio.std(ddof=1) / math.sqrt(200)
    assert ratio.std(ddof=1) / math.sqrt(200) < 0.1


def test_resampling_at_every_update_changes_no_expectation():
    always, never = (estimates((2,), ula(0.5), threshold=t) for t in (1.0, 0.0))
    error = np.hypot(always.std(0, ddof=1), never.std(0, ddof=1)) / math.sqrt(len(always))
    assert (np.abs(always.mean(0) - never.mean(0)) < 5 * error).all()
    assert int(along_a_path((2,), 100, ula(0.5), threshold=1.0)[1].resamplings) == 8


def test_the_standard_error_of_log_z_is_that_of_repeated_runs():
    """Of walkers that mix between resamplings: with few steps in their place the ratio is 2."""

    def mixed(energy, before, generator):
        return exactly(MALA(0.6), energy, before, 20, generator)[0]

    stretches = [along_a_path((2,), 400, mixed, threshold=1.0, seed=s)[1].stretch for s in range(60)]
    values, variances = (np.array(v) for v in zip(*[map(float, s.log_partition()) for s in stretches], strict=True))
    # The relative error of a variance from 60 runs is √(2/59).
    assert values.var(ddof=1) / variances.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / 59))


def test_systematic_counts_differ_from_their_expectation_by_less_than_one():
    generator = torch.Generator().manual_seed(0)
    for n in (2, 7, 100):
        weights = torch.rand(n, generator=generator, dtype=torch.float64).pow(4)
        weights /= weights.sum()
        for _ in range(20):
            slots = systematic(weights, torch.rand((), generator=generator, dtype=torch.float64))
            counts = torch.bincount(slots, minlength=n)
            assert len(slots) == n
            assert ((counts - n * weights).abs() < 1).all()


def test_systematic_draws_each_slot_as_often_as_its_weight_says():
    weights = torch.tensor([0.05, 0.6, 0.0, 0.35], dtype=torch.float64)
    offsets = (torch.arange(200, dtype=torch.float64) + 0.5) / 200  # a rule for the integral over the offset
    counts = sum(torch.bincount(systematic(weights, u), minlength=4) for u in offsets).double() / 200
    torch.testing.assert_close(counts, 4 * weights, atol=0.01, rtol=0)


def test_effective_fraction():
    assert float(effective_fraction(torch.full((8,), 1 / 8))) == pytest.approx(1)
    assert float(effective_fraction(torch.eye(8)[0])) == pytest.approx(1 / 8)


class Slope:
    """3 Σ x on [-1, 1]²: Z = (2 sinh(3)/3)²."""

    support = Box(-1.0, 1.0)

    def __init__(self, slope):
        self.slope = slope

    def __call__(self, x):
        return self.slope * x.sum(1)

    def value_and_grad(self, x):
        # As reflection continues it: kernels see the gradient at the mirror image.
        return self(x), torch.full_like(x, self.slope)


def test_the_work_is_exact_in_a_box_too():
    """The mass is at a wall, which ULA with steps of 0.35 hits all the time."""
    values = []
    for seed in range(16):
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(1500, 2, generator=generator) * 2 - 1
        walkers = Walkers(x, UniformLaw((2,), Slope.support), 0.5, gradients=True)
        for k in range(1, 13):
            moved, _ = langevin(Slope(k / 4), walkers.stretch.population, 0.35, 1, generator)
            walkers.put_back(walkers.after(moved, generator)[0])
        assert (walkers.x.abs() <= 1).all()
        torch.testing.assert_close(walkers.energy, Slope(3.0)(walkers.x))
        assert (walkers.gradient == 3).all()  # also of those that a wall has just reflected
        values.append(float(walkers.stretch.log_partition()[0]))
    exact, error = 2 * math.log(2 * math.sinh(3) / 3), np.std(values, ddof=1) / math.sqrt(16)
    assert abs(np.mean(values) - exact) < 5 * error + np.var(values, ddof=1)
    assert error < 0.04


@pytest.mark.parametrize("beyond", [torch.inf, torch.nan])
def test_a_walker_thrown_out_loses_its_weight_and_is_replaced(beyond):
    law = GaussianLaw((2,), 0.0, 1.0)
    generator = torch.Generator().manual_seed(0)
    walkers = Walkers(law.sample(50, generator), law, 0.0, gradients=True)

    def fenced(x):
        return torch.where(x[:, 0] > 0.5, beyond, law(x))

    moved = langevin(fenced, walkers.stretch.population, 0.5, 1, generator)[0]
    lost = moved.log_weights == -torch.inf
    assert 0 < int(lost.sum()) < 50
    assert torch.equal(moved.x[lost], walkers.x[lost])
    stretch, _ = walkers.after(moved, generator)
    assert int(stretch.resamplings) == 1
    assert stretch.population.energy.isfinite().all()
    with pytest.raises(Diverged, match="no walker has a weight left"):
        walkers.after(langevin(lambda x: law(x) + torch.inf, walkers.stretch.population, 0.5, 1, generator)[0], generator)


# The method.


def jarzynski(iterations=1000, **settings):
    return build("jarzynski", SPEC, settings, network=SMALL, iterations=iterations)


def two_lumps(n, generator):
    side = 2 * torch.randint(2, (n, 1), generator=generator) - 1.0
    return torch.cat([side, torch.zeros(n, 1)], 1) + 0.3 * torch.randn(n, 2, generator=generator)


def trained(method, updates, generator):
    for _ in range(updates):
        report = method.training_step(two_lumps(64, generator), generator)
    return report


def by_quadrature(energy):
    negative = on_arrays(energy, "cpu")
    return log_partition(lambda x: -negative(x))[0]


def test_the_update_follows_the_weighted_likelihood_gradient():
    method = jarzynski(walkers=64, witnesses=0, resample_below=0.0)
    trained(method, 20, torch.Generator().manual_seed(0))
    method.learner.config = method.learner.config.model_copy(update={"betas": (0.0, 0.0)})
    batch = torch.randn(32, 2)
    generator = torch.Generator().manual_seed(1)
    stretch, _, _ = method.followed(method.walkers, method.live, generator)
    w = stretch.population.weights().float()
    assert w.std() > 0.1 * w.mean()
    parameters = list(method.live.parameters())
    expected = torch.autograd.grad(method.live(batch).mean() - (w * method.live(stretch.population.x)).sum(), parameters)
    method.training_step(batch, torch.Generator().manual_seed(1))
    for ours, theirs in zip(method.learner.moments("first_moment"), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("step_size", [0.1, 0.5])
def test_the_running_log_z_of_the_live_energy_is_that_of_quadrature(step_size):
    """With walkers enough that they do not notice that the energy was fitted to them; at ε = 0.5 ULA alone would be far off."""
    generator = torch.Generator().manual_seed(0)
    kernel = {"name": "ula", "settings": {"step_size": step_size}}
    method = jarzynski(walkers=10_000, witnesses=0, steps=2, kernel=kernel, iterations=50, optimiser={"learning_rate": 1e-2})
    trained(method, 50, generator)
    with torch.no_grad():
        log_z, variance = method.walkers.reweighted(method.live).log_partition()
    exact = by_quadrature(method.live)
    assert abs(exact) > 0.3  # or nothing was learnt, and 0 would do
    assert abs(float(log_z) - exact) < min(5 * math.sqrt(float(variance)) + 0.01, 0.05)


@pytest.mark.parametrize("kernel", [ULA(0.2), MALA(0.4)], ids=["ula", "mala"])
def test_witnesses_find_log_z_where_few_walkers_cannot(kernel):
    """Each update lifts the energy where the walkers are: their own log Z falls behind by 1/n per update, that of witnesses does not."""
    generator = torch.Generator().manual_seed(0)
    settings = {"name": kernel.name, "settings": {"step_size": kernel.step_size}}
    method = jarzynski(walkers=48, witnesses=800, steps=2, kernel=settings, iterations=250, optimiser={"learning_rate": 5e-3})
    trained(method, 250, generator)
    log_z, error = method.log_partition()
    exact = by_quadrature(method.energy)
    assert abs(log_z - exact) < 5 * error
    assert error < 0.15
    with torch.no_grad():
        own, _ = method.walkers.reweighted(method.live).log_partition()
    assert float(own) - by_quadrature(method.live) < -0.5


def test_witnesses_have_no_say():
    """Half of them or none: the training is the same, apart from the noise that they draw."""
    method = jarzynski(walkers=32, witnesses=16)
    trained(method, 3, torch.Generator().manual_seed(0))
    before, after = (torch.Generator().manual_seed(5) for _ in range(2))
    first = method.negatives(torch.zeros(8, 2), before)
    method.witnesses.x += 1.0
    second = method.negatives(torch.zeros(8, 2), after)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.weights, second.weights)
    assert jarzynski(walkers=32, witnesses=0).log_partition() is None


def test_walkers_follow_the_live_energy_and_witnesses_its_average():
    kernel = {"name": "ula", "settings": {"step_size": 0.2}}
    method, generator = jarzynski(walkers=32, witnesses=16, kernel=kernel), torch.Generator().manual_seed(0)
    trained(method, 3, generator)
    live, average = copy.deepcopy(method.live), copy.deepcopy(method.learner.average)
    trained(method, 1, generator)
    for walkers, energy in ((method.walkers, live), (method.witnesses, average)):
        value, slope = energy.value_and_grad(walkers.x)
        torch.testing.assert_close(walkers.energy, value)
        torch.testing.assert_close(walkers.gradient, slope)


def test_chains_are_the_walkers_as_often_as_they_weigh():
    method = jarzynski(walkers=64, resample_below=0.0, steps=3)
    trained(method, 5, torch.Generator().manual_seed(0))
    chains = method.chains()
    assert chains.x.shape == (64, 2)
    assert chains.sampler_steps == 15
    with torch.no_grad():
        w = method.walkers.reweighted(method.learner.average).population.weights()
    torch.testing.assert_close(chains.x.mean(0), (w.float() @ method.walkers.x), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ({"name": "parallel_tempering", "settings": {"step_size": 0.2}}, "cannot weight the moves of parallel_tempering"),
        ({"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.1}}, "for its step size alone"),
        ({"name": "ula", "settings": {"step_size": 0.2, "clip": 1.0}}, "for its step size alone"),
        ({"name": "underdamped_langevin", "settings": {"step_size": 0.2}}, "cannot weight the moves of underdamped_langevin"),
    ],
)
def test_kernels_that_weights_cannot_correct_are_refused(kernel, message):
    with pytest.raises(ValueError, match=message):
        jarzynski(kernel=kernel)


def test_the_noise_scale_of_an_unbiased_temperature_is_taken():
    jarzynski(kernel={"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.2}})
