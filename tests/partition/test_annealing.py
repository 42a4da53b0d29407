"""Annealing: what is unbiased whatever the ladder, what it reduces to, how its variance falls, and what it costs."""

import math

import pytest
import torch
from annealing_targets import Boxed, Gaussian, Mixture

from ebmpipe.energies import GaussianLaw, UniformLaw
from ebmpipe.partition import Bridge, Ladder, NoPath, adapted_ladder, backward, forward, importance
from ebmpipe.partition.annealing import resampled, tried
from ebmpipe.partition.estimates import effective, log_mean_exp, pooled
from ebmpipe.samplers import HMC, MALA
from ebmpipe.supports import Box

BASE = GaussianLaw((2,), 0.3, 1.5)
TARGET = Gaussian(torch.tensor([0.4, -0.5]), torch.tensor([0.6, 1.0]))
KERNELS = [HMC(0.5, 3), MALA(0.6)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def even(levels, step=0.5):
    return Ladder((*(i / levels for i in range(levels)), 1.0), (step,) * (levels + 1), 1.0)


class Counted:
    """An energy that counts the examples whose gradient was asked for."""

    support = None

    def __init__(self, energy):
        self.energy, self.gradients = energy, 0

    def value_and_grad(self, x):
        self.gradients += len(x)
        return self.energy.value_and_grad(x)

    def grad(self, x):
        return self.value_and_grad(x)[1]

    def __call__(self, x):
        return self.energy(x)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("levels", [1, 2, 7])
def test_weights_have_mean_z_there_and_one_over_z_back_whatever_the_ladder(kernel, levels):
    # Of a target narrower than 1/√2 of the base, weights of the way back in one level have no variance.
    target = Gaussian(torch.tensor([0.4, -0.5]), torch.tensor([1.2, 1.3]))
    bridge, n = Bridge(BASE, target), 40_000
    there, _ = forward(bridge, even(levels), kernel, 100, n // 100, generator())
    back = backward(bridge, even(levels), kernel, target.sample(n, generator(1)), 100, generator(2))
    for estimate in (there, back):
        # exp of the difference is the ratio of means, of which the delta method's error is the standard error.
        assert abs(math.expm1(estimate.log_z - target.log_z)) < 4 * estimate.stderr < 0.04
    assert torch.tensor(there.repeats).mean() < there.log_z and torch.tensor(back.repeats).mean() > back.log_z


def test_resampling_leaves_the_mean_what_it_is():
    estimate, x = forward(Bridge(BASE, TARGET), even(5), HMC(0.5, 3), 200, 200, generator(), resample_below=1.0)
    assert abs(math.expm1(estimate.log_z - TARGET.log_z)) < 4 * estimate.stderr < 0.05
    # Where it ends are draws of the target.
    assert x.mean(0).tolist() == pytest.approx(TARGET.mean.tolist(), abs=0.02)
    assert x.std(0).tolist() == pytest.approx(TARGET.sd.tolist(), abs=0.02)


def test_one_level_is_importance_sampling():
    bridge = Bridge(BASE, TARGET)
    annealed, _ = forward(bridge, even(1), HMC(0.5, 3), 8, 50, generator())
    plain = importance(BASE, TARGET, 8, 50, generator())
    assert annealed.repeats == pytest.approx(plain.repeats, abs=1e-5)
    assert annealed.ess == pytest.approx(plain.ess, rel=1e-4)


def test_an_energy_that_is_its_base_has_log_z_zero_without_any_error():
    base = GaussianLaw((3,), 0.0, 1.0)
    bridge = Bridge(base, base)
    ladder = adapted_ladder(bridge, HMC(0.5, 3), 100, generator())
    assert ladder.length < 1e-6
    for estimate in (forward(bridge, ladder, HMC(0.5, 3), 4, 20, generator())[0], importance(base, base, 4, 20, generator())):
        assert (estimate.log_z, estimate.stderr, estimate.ess) == pytest.approx((0, 0, 1), abs=1e-5)


@pytest.mark.parametrize("dimension", [2, 10, 64])
def test_the_length_of_a_path_between_gaussians_is_known(dimension):
    """∫ √Var(E₁ - E₀) dβ = √(D/2) log(λ₁/λ₀) for precisions λ, and equal steps of it are equal ratios of precisions."""
    narrow = Gaussian(torch.zeros(dimension), torch.full((dimension,), 0.7))
    bridge = Bridge(GaussianLaw((dimension,), 0.0, 1.4), narrow)
    ladder = adapted_ladder(bridge, HMC(0.4, 3), 2000, generator(), variance=0.05)
    assert ladder.length == pytest.approx(math.sqrt(dimension / 2) * math.log(4), rel=0.1)
    assert ladder.levels == max(20, math.ceil(ladder.length**2 / 0.05))
    beta = torch.tensor(ladder.betas, dtype=torch.float64)
    precision = (1 - beta) / 1.4**2 + beta / 0.7**2
    assert (precision.log().diff() / (math.log(4) / ladder.levels)).tolist() == pytest.approx([1.0] * ladder.levels, abs=0.25)


def test_the_variance_of_log_w_falls_as_one_over_the_levels():
    bridge = Bridge(GaussianLaw((8,), 0.0, 1.5), Gaussian(torch.full((8,), 0.5), torch.full((8,), 0.7)))
    ladder = adapted_ladder(bridge, HMC(0.4, 3), 1000, generator(), variance=0.4)
    # Repeats of one chain each are single weights.
    ladders = [ladder.refined(levels) for levels in (50, 100, 200)]
    spread = [torch.tensor(forward(bridge, each, HMC(0.4, 3), 20_000, 1, generator())[0].repeats).var() for each in ladders]
    assert float(spread[0] / spread[1]) == pytest.approx(2, rel=0.15)
    assert float(spread[1] / spread[2]) == pytest.approx(2, rel=0.15)


def test_a_trial_finds_the_levels_that_the_variance_takes():
    bridge, kernel = Bridge(GaussianLaw((8,), 0.0, 1.5), Gaussian(torch.full((8,), 0.5), torch.full((8,), 0.7))), MALA(0.3)
    short = adapted_ladder(bridge, kernel, 500, generator(), variance=0.2)
    ladder = tried(bridge, short, kernel, 4000, generator(), 0.2, 2000)
    assert ladder.levels > short.levels
    assert float(torch.tensor(forward(bridge, ladder, kernel, 20_000, 1, generator())[0].repeats).var()) == pytest.approx(0.2, rel=0.3)
    assert tried(bridge, short, kernel, 4000, generator(), 0.2, short.levels).levels == short.levels


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_what_it_says_that_it_costs_is_what_it_costs(kernel):
    counted = Counted(TARGET)
    bridge = Bridge(BASE, counted)
    ladder = adapted_ladder(bridge, kernel, 50, generator())
    assert counted.gradients == ladder.gradient_evaluations
    for run in (
        lambda: forward(bridge, ladder, kernel, 2, 10, generator())[0],
        lambda: backward(bridge, ladder, kernel, TARGET.sample(20, generator()), 2, generator()),
    ):
        counted.gradients = 0
        assert run().gradient_evaluations == counted.gradients


def test_a_box_is_annealed_inside_of_it():
    box, slope = Box(-1.0, 1.0), torch.tensor([0.7, 2.0])
    target = Boxed(slope, box)
    bridge = Bridge(UniformLaw((2,), box), target)
    ladder = adapted_ladder(bridge, HMC(0.4, 3), 500, generator())
    estimate, x = forward(bridge, ladder, HMC(0.4, 3), 32, 200, generator())
    assert abs(estimate.log_z - target.log_z) < 4 * estimate.stderr < 0.05
    assert x.abs().max() <= 1
    with pytest.raises(ValueError, match="a base on the support of its energy"):
        Bridge(GaussianLaw((2,), 0.0, 1.0), target)
    with pytest.raises(ValueError, match="a base on the support of its energy"):
        Bridge(UniformLaw((2,), box), TARGET)


def test_modes_far_apart_get_their_weights():
    means, weights = torch.tensor([[-4.0, 0.0], [4.0, 0.0]]), torch.tensor([0.2, 0.8])
    target = Mixture(means, weights, 0.5)
    bridge = Bridge(GaussianLaw((2,), 0.0, 4.0), target)
    ladder = adapted_ladder(bridge, HMC(0.5, 3), 1000, generator())
    estimate, x = forward(bridge, ladder, HMC(0.5, 3), 32, 128, generator(), resample_below=0.5)
    assert estimate.log_z == pytest.approx(target.log_z, abs=4 * estimate.stderr)
    assert float((x[:, 0] > 0).double().mean()) == pytest.approx(0.8, abs=0.05)


class Broken:
    """A Gaussian, but for what it is left of a line."""

    support = None

    def __init__(self, value):
        self.value = value

    def value_and_grad(self, x):
        value, slope = TARGET.value_and_grad(x)
        lost = x[:, 0] < 0
        return value.masked_fill(lost, self.value), slope

    def __call__(self, x):
        return self.value_and_grad(x)[0]


def test_a_density_of_zero_is_one_and_no_number_is_none():
    bridge = Bridge(BASE, Broken(math.inf))
    half = TARGET.log_z + math.log(0.5 * (1 + math.erf(0.4 / 0.6 / math.sqrt(2))))
    short = adapted_ladder(bridge, HMC(0.5, 3), 500, generator())
    ladder = tried(bridge, short, HMC(0.5, 3), 500, generator(), 0.1, 1000)
    assert ladder.levels < 4 * short.levels, "chains that are lost at once call for no further levels"
    estimate, x = forward(bridge, ladder, HMC(0.5, 3), 64, 200, generator())
    assert abs(estimate.log_z - half) < 4 * estimate.stderr < 0.1
    assert (x[:, 0] >= 0).all()
    assert estimate.alive == pytest.approx(0.5 * (1 + math.erf(0.3 / 1.5 / math.sqrt(2))), abs=0.02), "what the base puts left of the line"
    with pytest.raises(NoPath, match="zero wherever the base puts chains"):
        adapted_ladder(Bridge(BASE, Gaussian(TARGET.mean, TARGET.sd, math.inf)), HMC(0.5, 3), 100, generator())
    for value in (math.nan, -math.inf):
        with pytest.raises(NoPath, match="not finite at"):
            adapted_ladder(Bridge(BASE, Broken(value)), HMC(0.5, 3), 100, generator())


@pytest.mark.parametrize("betas", [(0.0,), (0.0, 0.5), (0.1, 1.0), (0.0, 0.6, 0.5, 1.0), (0.0, 0.5, 0.5, 1.0)])
def test_a_ladder_rises_from_zero_to_one(betas):
    with pytest.raises(ValueError, match="must rise from 0 to 1"):
        Ladder(betas, (0.1,) * len(betas), 1.0)


def test_a_ladder_has_a_step_size_at_every_level():
    for steps in ((0.1,), (0.1, 0.0)):
        with pytest.raises(ValueError, match="a positive step size for each"):
            Ladder((0.0, 1.0), steps, 1.0)


def test_samples_are_shared_out_evenly_or_refused():
    with pytest.raises(ValueError, match="5 samples cannot be shared out among 2 repeats"):
        backward(Bridge(BASE, TARGET), even(2), HMC(0.5, 3), torch.zeros(5, 2), 2, generator())


def test_systematic_resampling_takes_each_as_often_as_its_weight_says():
    shares = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]], dtype=torch.float64)
    rows = resampled(shares.log(), torch.tensor([True, True, False]), generator()).view(3, 4)
    counts = torch.stack([torch.bincount(row - 4 * i, minlength=4) for i, row in enumerate(rows)])
    assert ((counts[:2] - 4 * shares[:2]).abs() < 1).all(), "each is taken its share of times, rounded up or down"
    assert rows[2].tolist() == [8, 9, 10, 11], "a repeat that is not resampled stays as it is"
    many = torch.stack([resampled(shares[:1].log(), torch.tensor([True]), generator(seed)) for seed in range(2000)])
    assert torch.bincount(many.flatten(), minlength=4).double().div(many.numel()).tolist() == pytest.approx(shares[0].tolist(), abs=0.01)


def test_numbers_of_weights():
    logs = torch.tensor([[0.0, 0.0, 0.0], [0.0, -math.inf, -math.inf], [800.0, 800.0, -math.inf]], dtype=torch.float64)
    assert effective(logs).tolist() == pytest.approx([1, 1 / 3, 2 / 3])
    assert log_mean_exp(logs).tolist() == pytest.approx([0, -math.log(3), 800 + math.log(2 / 3)])
    assert effective(torch.full((2,), -math.inf, dtype=torch.float64)) == 0
    whole, error = pooled(torch.tensor([0.0, math.log(3.0)], dtype=torch.float64))
    assert (float(whole), float(error)) == pytest.approx((math.log(2), math.sqrt(2) / 2 / math.sqrt(2)))
    assert pooled(torch.tensor([1.0]))[1] == math.inf, "one estimate tells nothing of its error"
