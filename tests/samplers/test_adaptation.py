"""Dual averaging of step sizes, by itself and before fresh samples are drawn."""

import math

import pytest
import torch

from ebmpipe.config import KernelConfig, NetworkConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.methods import build
from ebmpipe.samplers import HMC, MALA, NUTS, ULA, Kernel, run
from ebmpipe.samplers.adaptation import DualAveraging, adapt
from ebmpipe.supports import Box

#: Step sizes that are about right for `logistic`.
KERNELS = {"mala": MALA(1.0), "hmc": HMC(1.0, 3), "nuts": NUTS(1.0, max_depth=3)}


def scales(x):
    """From 0.5 to 2, one for each coordinate."""
    return torch.linspace(0.5, 2, x.shape[1], dtype=x.dtype)


def logistic(x):
    """Independent logistic laws. On a Gaussian, whose oscillations have one period, the acceptance of HMC does not fall evenly."""
    return (2 * torch.nn.functional.softplus(x / scales(x)) - x / scales(x)).sum(1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Counting:
    support = None

    def __init__(self):
        self.gradients = 0

    def __call__(self, x):
        return logistic(x)

    def value_and_grad(self, x):
        self.gradients += len(x)
        return logistic(x), torch.tanh(x / scales(x) / 2) / scales(x)

    def grad(self, x):
        return self.value_and_grad(x)[1]


class TestDualAveraging:
    def test_it_follows_its_formula(self):
        """Of a constant acceptance a the sum is known: log ε = log(10 ε₀) - 20 √t t (δ - a) / (t + 10)."""
        search = DualAveraging(0.3, 0.6)
        for t in range(1, 40):
            search.update(0.55)
            expected = math.log(10 * 0.3) - 20 * math.sqrt(t) * t * (0.6 - 0.55) / (t + 10)
            assert math.log(search.step_size) == pytest.approx(expected)
            if t == 1:
                assert search.average == pytest.approx(search.step_size)

    @pytest.mark.parametrize("target", [0.574, 0.8])
    @pytest.mark.parametrize("factor", [1e-3, 1 / 30, 1, 30])
    def test_it_solves_for_the_target(self, target, factor):
        """Acceptance exp(-ε), known exactly: ε̄ tends to -log δ."""
        root = -math.log(target)
        search = DualAveraging(factor * root, target)
        for _ in range(2000):
            search.update(math.exp(-search.step_size))
        assert search.average == pytest.approx(root, rel=0.02)

    @pytest.mark.parametrize("acceptance", [0.0, 1.0])
    def test_it_stays_finite_when_nothing_can_be_found(self, acceptance):
        search = DualAveraging(0.1, 0.6)
        for _ in range(20_000):
            search.update(acceptance)
        assert 1e-6 < search.average < 1e4


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dimension", [2, 10])
@pytest.mark.parametrize("factor", [1 / 30, 30])
def test_acceptance_comes_to_its_target(name, dimension, factor):
    kernel = KERNELS[name].with_step_size(KERNELS[name].step_size * factor)
    generator = seeded()
    adapted, x, _ = adapt(kernel, logistic, torch.randn(100, dimension, generator=generator), 120 if name == "nuts" else 250, generator)
    assert type(adapted) is type(kernel) and kernel.step_size == KERNELS[name].step_size * factor
    assert run(adapted, logistic, x, 40, generator)[1].acceptance == pytest.approx(kernel.target_acceptance, abs=0.04)


def test_another_target_is_met():
    generator = seeded()
    adapted, x, _ = adapt(MALA(1.0), logistic, torch.randn(200, 3, generator=generator), 300, generator, target=0.9)
    assert run(adapted, logistic, x, 60, generator)[1].acceptance == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("name", KERNELS)
def test_cost_is_counted_and_only_the_generator_matters(name):
    energy, x = Counting(), torch.randn(20, 2, generator=seeded())
    adapted, end, summary = adapt(KERNELS[name], energy, x, 12, seeded(1))
    assert summary.steps == 12 and summary.gradient_evaluations == energy.gradients
    if not adapted.random_cost:
        assert energy.gradients == 20 * adapted.cost(12)
    torch.manual_seed(5)
    again, same, _ = adapt(KERNELS[name], Counting(), x, 12, seeded(1))
    assert again.step_size == adapted.step_size and torch.equal(end, same)


@pytest.mark.parametrize("name", KERNELS)
def test_in_a_box_no_step_is_longer_than_its_edge(name):
    class Flat(Counting):
        support = Box(-1.0, 1.0)

        def __call__(self, x):
            return 0 * x[:, 0]

        def value_and_grad(self, x):
            assert bool(self.support.contains(x).all())
            return 0 * x[:, 0], torch.zeros_like(x)

    adapted, x, _ = adapt(KERNELS[name], Flat(), torch.zeros(50, 2), 40, seeded())
    assert adapted.step_size == pytest.approx(2.0) and bool(Flat.support.contains(x).all())


class Undirected(MALA):
    """A kernel that does not say which acceptance is good."""

    target_acceptance = None


REFUSED = [
    (ULA(0.1), 10, None, "the step size of ula cannot be adapted"),
    (Undirected(0.1), 10, None, "needs a target acceptance"),
    (MALA(0.1), 10, 1.0, "needs a target acceptance"),
    (MALA(0.1), 0, None, "at least one step"),
]


@pytest.mark.parametrize(("kernel", "steps", "target", "message"), REFUSED)
def test_what_cannot_be_adapted_is_refused(kernel: Kernel, steps, target, message):
    with pytest.raises(ValueError, match=message):
        adapt(kernel, logistic, torch.zeros(5, 2), steps, seeded(), target)


class TestFreshSamples:
    """`Method.sample` under settings that ask for adaptation."""

    @pytest.fixture
    def method(self, prepared):
        return build("pcd", Prepared(prepared["eight_gaussians"]).spec, network=NetworkConfig(settings={"width": 8}))

    def settings(self, **changes):
        kernel = KernelConfig(name="hmc", settings={"step_size": 0.05, "leapfrog_steps": 3})
        return SamplingConfig(**({"n": 1500, "steps": 8, "kernel": kernel} | changes))

    def test_the_step_size_found_is_used_recorded_and_paid_for(self, method):
        method.sampling = self.settings(adaptation_steps=150)
        drawn = method.sample(1500, seeded())
        found = drawn.notes["adaptation"]
        assert found["step_size"] > 0.5
        assert drawn.acceptance == pytest.approx(0.651, abs=0.06)
        assert drawn.sampler_steps == 8
        # The search runs on one chunk of 1024 chains, the samples on chains of their own.
        assert drawn.gradient_evaluations == 1024 * (1 + 3 * 150) + 1500 * (1 + 3 * 8)

    def test_without_it_chains_are_as_they_were(self, method):
        method.sampling = self.settings()
        generator = seeded()
        starts = [method.base.sample(1024, generator)]
        expected = [run(HMC(0.05, 3), method.energy_function(), starts[0], 8, generator)[0]]
        expected.append(run(HMC(0.05, 3), method.energy_function(), method.base.sample(476, generator), 8, generator)[0])
        drawn = method.sample(1500, seeded())
        assert torch.equal(drawn.x, torch.cat(expected)) and drawn.notes == {}
        assert drawn.gradient_evaluations == 1500 * (1 + 3 * 8)

    def test_an_unadjusted_kernel_is_refused(self, method):
        method.sampling = self.settings(kernel=KernelConfig(settings={"step_size": 0.2}), adaptation_steps=10)
        with pytest.raises(ValueError, match="ula cannot be adapted"):
            method.sample(10, seeded())
