"""Gibbs sampling of states: its law is exact, its cost is what it says."""

import math

import pytest
import torch

from ebmpipe.config import KernelConfig
from ebmpipe.methods.base import build_kernel
from ebmpipe.samplers import run
from ebmpipe.samplers.adaptation import check_adaptable
from ebmpipe.samplers.gibbs import Gibbs
from ebmpipe.states import all_states


def states(*shape):
    return torch.from_numpy(all_states(shape)).double()


def rough(x):
    """An energy with terms of every order, (n,)."""
    flat = x.flatten(1)
    return (flat * torch.linspace(-0.6, 0.8, flat.shape[1], dtype=x.dtype)).sum(1) + 0.7 * flat.prod(1) - 0.5 * flat[:, 0] * flat[:, -1]


class Counting:
    def __init__(self):
        self.evaluations = 0

    def __call__(self, x):
        self.evaluations += len(x)
        return rough(x)


def transition_matrix(energy, x):
    """P (2^D, 2^D) of one step from every state ``x``, from what it would do for every site and every coin, by its own `step`."""
    n, dimension = x.shape
    matrix = torch.zeros(n, n, dtype=torch.float64)
    kernel = Gibbs()
    value = kernel.init(energy, x).energy
    powers = 2 ** torch.arange(dimension)
    place = {int(((row > 0) * powers).sum()): k for k, row in enumerate(x)}
    for site in range(dimension):
        other = x.clone()
        other[:, site] *= -1
        turn = torch.sigmoid(value - energy(other))
        for k in range(n):
            matrix[k, place[int(((other[k] > 0) * powers).sum())]] += turn[k] / dimension
            matrix[k, k] += (1 - turn[k]) / dimension
    return matrix


def test_the_law_is_invariant_and_the_chain_reversible():
    x = states(3)
    p = torch.softmax(-rough(x), 0)
    matrix = transition_matrix(rough, x)
    torch.testing.assert_close(matrix.sum(1), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(p @ matrix, p)
    torch.testing.assert_close(p[:, None] * matrix, (p[:, None] * matrix).t())


def test_its_steps_are_that_matrix():
    """From every state, 40,000 steps each: frequencies within five standard errors of the matrix."""
    x, many = states(3), 40_000
    expected = transition_matrix(rough, x)
    kernel, generator = Gibbs(), torch.Generator().manual_seed(0)
    state, _ = kernel.step(rough, kernel.init(rough, x.repeat_interleave(many, 0)), generator)
    landed = ((state.x > 0) * 2 ** torch.arange(3)).sum(1).view(8, many)
    found = torch.stack([torch.bincount(row, minlength=8) for row in landed]) / many
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / many).sqrt() + 1e-12).all()


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2)])
def test_long_chains_come_to_the_law(shape):
    x = states(*shape)
    p = torch.softmax(-rough(x), 0)
    n = 40_000
    found, summary = run(Gibbs(), rough, torch.ones(n, *shape, dtype=torch.float64), 80, torch.Generator().manual_seed(1))
    places = ((found.flatten(1) > 0) * 2 ** torch.arange(4)).sum(1)
    share = torch.bincount(places, minlength=16) / n
    assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    assert (summary.acceptance, summary.temperature) == (1.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (5,), (1, 3, 2)])
def test_a_step_flips_one_coordinate_or_none_and_caches_the_energy(shape, dtype):
    x = torch.randint(2, (50, *shape), generator=torch.Generator().manual_seed(2)).to(dtype) * 2 - 1
    before, kernel = x.clone(), Gibbs()
    state, info = kernel.step(rough, kernel.init(rough, x), torch.Generator().manual_seed(3))
    assert torch.equal(x, before), "the caller's tensor was changed"
    assert state.x.dtype == dtype and state.x.shape == x.shape and info.accept_prob.shape == (50,)
    assert set((state.x != x).flatten(1).sum(1).tolist()) == {0, 1}
    assert torch.equal(state.x.abs(), torch.ones_like(x))
    torch.testing.assert_close(state.energy, rough(state.x))


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_evaluations_are_as_many_as_declared(steps):
    energy = Counting()
    _, summary = run(Gibbs(), energy, torch.ones(11, 4), steps, torch.Generator().manual_seed(0))
    assert energy.evaluations == summary.gradient_evaluations == 11 * Gibbs().cost(steps) == 11 * (1 + steps)


@pytest.mark.parametrize("steps", [0, 4, 9])
def test_a_run_split_in_two_is_the_same_run(steps):
    x = torch.ones(4, 3)
    whole, _ = run(Gibbs(), rough, x, 9, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    _, summary = run(Gibbs(), rough, x, steps, generator)
    again, _ = run(Gibbs(), rough, summary.state, 9 - steps, generator)
    assert torch.equal(whole, again)


def test_states_of_infinite_energy_are_not_entered():
    forbidden = lambda x: torch.where(x[:, 0] > 0, math.inf, 0.0)  # noqa: E731
    x, _ = run(Gibbs(), forbidden, -torch.ones(200, 2), 50, torch.Generator().manual_seed(0))
    assert (x[:, 0] == -1).all() and (x[:, 1] == 1).any()


def test_what_is_no_state_is_refused():
    with pytest.raises(ValueError, match="every coordinate is -1 or 1"):
        run(Gibbs(), rough, torch.randn(5, 2), 1, torch.Generator())
    for wrong in (lambda x: x.sum(), lambda x: x):
        with pytest.raises(ValueError, match=r"an energy must map \(n, \*event\) to \(n,\)"):
            run(Gibbs(), wrong, torch.ones(5, 2), 1, torch.Generator())


def test_it_has_no_settings_and_is_for_binary_data_alone():
    assert isinstance(build_kernel(KernelConfig(name="gibbs"), 3, "binary"), Gibbs)
    with pytest.raises(ValueError, match="step_size"):
        build_kernel(KernelConfig(name="gibbs", settings={"step_size": 0.1}))
    with pytest.raises(ValueError, match="kernel 'gibbs' takes binary, not images"):
        build_kernel(KernelConfig(name="gibbs"), kind="images")
    with pytest.raises(ValueError, match="kernel 'mala' takes density, images, vectors, not binary"):
        build_kernel(KernelConfig(name="mala", settings={"step_size": 0.1}), kind="binary")
    with pytest.raises(ValueError, match="cannot be adapted"):
        check_adaptable(Gibbs())
