"""Parallel tempering: exact moments and mode weights, and swaps that leave the replicas' joint law alone."""

import math

import pytest
import torch

from ebmpipe.samplers import MALA, ParallelTempering, run
from ebmpipe.samplers.base import State
from ebmpipe.samplers.parallel_tempering import Replicas


def gaussian(x):
    return x.flatten(1).square().sum(1) / 2


class Mixture:
    """Two Gaussians of deviation 0.5 at (-3, 0) and (3, 0), of weights 0.3 and 0.7, on a broad Gaussian base; gradient by hand."""

    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    weights = torch.tensor([0.3, 0.7])

    def parts(self, x):
        away = x[:, None] - self.centres.to(x)
        return self.weights.to(x).log() - away.square().sum(2) * 2, away

    def __call__(self, x):
        return -self.parts(x)[0].logsumexp(1)

    def value_and_grad(self, x):
        logits, away = self.parts(x)
        return -logits.logsumexp(1), 4 * (logits.softmax(1)[:, :, None] * away).sum(1)


class Quartic:
    """x⁴/4 - x²/2 in one dimension."""

    grid = torch.linspace(-7, 7, 40_001, dtype=torch.float64)

    def __call__(self, x):
        return (x**4 / 4 - x**2 / 2).flatten(1).sum(1)

    def value_and_grad(self, x):
        return self(x), x**3 - x

    def sample(self, n, temperature, generator):
        """Exact samples of p^(1/T), from a fine grid."""
        weights = (-self(self.grid[:, None]) / temperature).softmax(0)
        return self.grid[torch.multinomial(weights, n, replacement=True, generator=generator)][:, None]

    def expectation(self, f, temperature):
        weights = (-self(self.grid[:, None]) / temperature).softmax(0)
        return float((weights * f(self.grid)).sum())


def exact_state(kernel, energy, n, clock, generator):
    """Replicas drawn from their joint stationary law."""
    ladder = kernel.ladder(torch.empty(0, dtype=torch.float64))
    x = torch.cat([energy.sample(n, float(t), generator) for t in ladder])
    replicas = Replicas(x, *energy.value_and_grad(x), clock)
    return State(x[:n], replicas.energy[:n], replicas.gradient[:n], replicas)


def test_the_ladder_is_geometric():
    ladder = ParallelTempering(0.5, 4, 27.0).ladder(torch.empty(0, dtype=torch.float64))
    assert ladder.tolist() == pytest.approx([1, 3, 9, 27])


@pytest.mark.parametrize(("shape", "step"), [((1,), 1.2), ((2,), 1.2), ((10,), 0.8), ((1, 4, 4), 0.7)])
def test_moments_of_a_gaussian_at_every_temperature(shape, step):
    """From a start at the wrong scale, at a step where ULA's bias would show."""
    kernel, n, generator = ParallelTempering(step, 4, 8.0), 2000, torch.Generator().manual_seed(0)
    start = 0.5 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    x, summary = run(kernel, gaussian, start, 120, generator)
    assert torch.equal(summary.state.memory.x[:n], x)
    for temperature, values in zip((1, 2, 4, 8), summary.state.memory.x.split(n), strict=True):
        assert abs(float(values.mean())) < 5 * math.sqrt(temperature / values.numel())
        assert abs(float(values.var()) / temperature - 1) < 5 * math.sqrt(2 / values.numel())
    assert 0.4 < summary.acceptance < 0.95
    assert 0 < summary.swaps < 1


def test_mode_weights_where_mala_stays_where_it_started():
    energy, n = Mixture(), 2000
    start = torch.tensor([-3.0, 0.0]).repeat(n, 1)
    stuck, _ = run(MALA(0.5), energy, start, 300, torch.Generator().manual_seed(0))
    assert float((stuck[:, 0] > 0).double().mean()) < 0.001
    x, summary = run(ParallelTempering(0.5, 5, 20.0), energy, start, 300, torch.Generator().manual_seed(0))
    right = x[:, 0] > 0
    assert abs(float(right.double().mean()) - 0.7) < 5 * math.sqrt(0.3 * 0.7 / n)
    for mode, centre in [(right, 3.0), (~right, -3.0)]:
        inside = x[mode] - torch.tensor([centre, 0.0])
        assert abs(float(inside.mean())) < 5 * 0.5 / math.sqrt(inside.numel())
        assert abs(float(inside.var()) - 0.25) < 5 * 0.25 * math.sqrt(2 / inside.numel())
    assert 0.2 < summary.swaps < 0.9


@pytest.mark.parametrize("temperatures", [2, 3, 4])
@pytest.mark.parametrize("clock", [0, 1])
@pytest.mark.parametrize("step", [1e-9, 0.8])
def test_a_step_leaves_the_joint_law_alone(temperatures, clock, step):
    """From exact replicas: swaps alone (at a step too small to move) and with moves, even and odd pairs."""
    kernel, energy, generator = ParallelTempering(step, temperatures, 6.0), Quartic(), torch.Generator().manual_seed(0)
    n = 100_000
    before = exact_state(kernel, energy, n, clock, generator)
    after, info = kernel.step(energy, before, generator)
    assert after.memory.clock == clock + 1
    assert 0.1 < float(info.swap_prob) < 0.95
    changed = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(before.memory.x.split(n), after.memory.x.split(n), strict=True)]
    if step < 1e-6:
        pairs = {(2, 0): [0, 1], (2, 1): [0, 1], (3, 0): [0, 1], (3, 1): [1, 2], (4, 0): [0, 1, 2, 3], (4, 1): [1, 2]}
        assert [i for i, c in enumerate(changed) if c] == pairs[temperatures, clock]
    for temperature, values in zip(kernel.ladder(before.x).tolist(), after.memory.x.split(n), strict=True):
        for f in (torch.square, torch.tanh, lambda x: torch.exp(-(x**2))):
            assert abs(float(f(values).mean()) - energy.expectation(f, temperature)) < 5 * float(f(values).std()) / math.sqrt(n)


def test_swaps_satisfy_detailed_balance():
    """From the joint law, (x, y) → (x', y') and its reverse have one law: every antisymmetric statistic vanishes."""
    kernel, energy, generator = ParallelTempering(1e-9, 2, 4.0), Quartic(), torch.Generator().manual_seed(0)
    n = 200_000
    before = exact_state(kernel, energy, n, 0, generator)
    after, _ = kernel.step(energy, before, generator)
    (x, y), (x_new, y_new) = before.memory.x.split(n), after.memory.x.split(n)
    for f, g in [(torch.square, torch.cos), (torch.tanh, lambda v: torch.sin(2 * v))]:
        antisymmetric = f(x) * g(y) * g(x_new) * f(y_new) * (x - x_new) + f(x) * g(x_new) - f(x_new) * g(x)
        assert abs(float(antisymmetric.mean())) < 5 * float(antisymmetric.std()) / math.sqrt(n)


@pytest.mark.parametrize("shape", [(1,), (1, 4, 4)])
def test_caches_of_all_replicas_equal_recomputed_values(shape):
    kernel, generator = ParallelTempering(0.7, 5, 10.0), torch.Generator().manual_seed(0)
    state = kernel.init(gaussian, torch.randn(6, *shape, dtype=torch.float64))
    for _ in range(6):
        state, _ = kernel.step(gaussian, state, generator)
        replicas = state.memory
        torch.testing.assert_close(replicas.energy, gaussian(replicas.x))
        torch.testing.assert_close(replicas.gradient, replicas.x)


@pytest.mark.parametrize("dimension", [1, 2, 10])
def test_acceptance_follows_the_step(dimension):
    start = torch.randn(300, dimension, generator=torch.Generator().manual_seed(1))
    tiny, huge = (run(ParallelTempering(step), gaussian, start, 5, torch.Generator().manual_seed(0))[1] for step in (0.01, 10.0))
    assert tiny.acceptance > 0.99
    assert huge.acceptance < 0.1


def test_acceptance_is_that_of_the_moves_at_temperature_one():
    """On a quartic, where hot replicas, whose steps are longer, are accepted less."""
    kernel, energy, generator = ParallelTempering(0.8, 3, 20.0), Quartic(), torch.Generator().manual_seed(0)
    state = exact_state(kernel, energy, 20_000, 0, generator)
    _, info = kernel.step(energy, state, generator)
    _, cold = MALA(0.8).step(energy, State(state.x, state.energy, state.gradient), generator)
    difference = info.accept_prob - cold.accept_prob
    assert abs(float(difference.mean())) < 5 * float(difference.std()) / math.sqrt(len(difference))
    assert torch.equal(info.gradient, state.gradient)


def test_all_replicas_move_in_one_call_of_the_energy():
    calls = []

    def energy(x):
        calls.append(len(x))
        return gaussian(x)

    _, summary = run(ParallelTempering(0.5, 7), energy, torch.randn(11, 2), 3, torch.Generator().manual_seed(0))
    assert calls == [11, 77, 77, 77]
    assert summary.gradient_evaluations == sum(calls)


def test_infinite_energies_are_left_and_never_entered():
    """Where a run may start outside the support; two infinite replicas have no swap ratio."""

    def half_line(x):
        return torch.where(x[:, 0] > 0, x[:, 0], torch.full_like(x[:, 0], torch.inf))

    start = torch.cat([torch.full((200, 1), -0.5), torch.ones(200, 1)])
    x, summary = run(ParallelTempering(1.0, 3, 4.0), half_line, start, 60, torch.Generator().manual_seed(0))
    assert (x > 0).all()
    assert math.isfinite(summary.swaps)
    _, summary = run(ParallelTempering(1e-9, 3, 4.0), half_line, start[:200], 1, torch.Generator().manual_seed(0))
    assert summary.swaps == 0


@pytest.mark.parametrize("bad", [{"step_size": -1.0}, {"temperatures": 1}, {"hottest": 1.0}, {"hottest": math.nan}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="needs step_size > 0, temperatures >= 2 and hottest > 1"):
        ParallelTempering(**{"step_size": 0.5} | bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        ParallelTempering.settings_model().model_validate({"step_size": 0.5} | bad)


def test_whole_numbers_in_a_config_may_look_like_any_number():
    """Configs hold a kernel's settings as floats."""
    from ebmpipe.config import KernelConfig
    from ebmpipe.methods.base import build_kernel

    config = KernelConfig.model_validate({"name": "parallel_tempering", "settings": {"step_size": 0.5, "temperatures": 4}})
    assert build_kernel(config).gradients_per_step == 4
    with pytest.raises(ValueError, match="temperatures"):
        build_kernel(KernelConfig(name="parallel_tempering", settings={"step_size": 0.5, "temperatures": 4.5}))
