"""NUTS: how its trajectories grow and end."""

import math

import pytest
import torch

from ebmpipe.samplers import NUTS, run
from ebmpipe.samplers.nuts import Point, halves_turned, stretches
from ebmpipe.samplers.reflection import Reflected
from ebmpipe.supports import Box


def gaussian(x):
    return x.flatten(1).square().sum(1) / 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points_per_step(kernel, energy=gaussian, dimension=1, chains=300, steps=3):
    x = torch.randn(chains, dimension, generator=seeded(), dtype=torch.float64)
    _, summary = run(kernel, energy, x, steps, seeded(1))
    return (summary.gradient_evaluations - chains) / (chains * steps)


def test_slots_hold_the_first_point_of_every_stretch_that_a_point_closes():
    """Against the definition: stretches are the aligned blocks of 2, 4, 8, … points."""
    slots = {}
    for leaf in range(256):
        slot, closed = stretches(leaf)
        if leaf % 2 == 0:
            slots = {s: first for s, first in slots.items() if s < slot} | {slot: leaf}
        blocks = [leaf + 1 - 2**k for k in range(1, 9) if (leaf + 1) % 2**k == 0]
        assert [slots[s] for s in closed] == blocks
        assert len(slots) <= 8


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("shape", [(2,), (5,), (1, 2, 2)])
def test_a_stretch_has_turned_as_the_reversed_one_has(boxed, shape):
    """Trajectories are as likely backwards only if the criterion is: the same points in reverse order, momenta negated."""
    energy = Reflected(gaussian, Box(-1.0, 1.0)) if boxed else gaussian
    a, b, c, d = (Point(*torch.randn(2, 5000, *shape, generator=seeded(seed), dtype=torch.float64)) for seed in range(4))
    forward = halves_turned(energy, a, (b, c), d)
    a, b, c, d = (Point(point.x, -point.momentum) for point in (a, b, c, d))
    assert torch.equal(forward, halves_turned(energy, d, (c, b), a))
    assert 0.1 < float(forward.double().mean()) < 0.999, "both verdicts occur"


def test_trajectories_are_half_a_period_long_whatever_the_step():
    """A harmonic oscillator turns after π units of time: halving ε doubles the number of points."""
    for step in (0.2, 0.1, 0.05, 0.025):
        assert 0.4 * math.pi < step * points_per_step(NUTS(step)) < 1.2 * math.pi
    # Ten times as wide, ten times as long.
    assert 4 * math.pi < 0.2 * points_per_step(NUTS(0.2), lambda x: gaussian(x / 10)) < 20 * math.pi


def test_they_end_at_the_largest_depth():
    kernel = NUTS(0.001, max_depth=5)
    assert points_per_step(kernel, dimension=10) == kernel.gradients_per_step == 31
    moved, summary = run(kernel, gaussian, torch.ones(200, 10, dtype=torch.float64), 1, seeded())
    assert summary.acceptance == pytest.approx(1, abs=1e-5)
    assert 0 < float((moved - 1).abs().max()) < 0.001 * 31 * 5


def test_a_whole_period_hides_no_turn():
    """Where eight points span a period, the ends of that stretch meet and still part; trajectories must stop there all the same."""
    assert points_per_step(NUTS(2 * math.sin(math.pi / 7)), dimension=100, chains=1000) <= 7


def test_divergence_ends_a_trajectory_at_its_first_point():
    x = torch.randn(100, 2, generator=seeded(), dtype=torch.float64)
    moved, summary = run(NUTS(1000.0), gaussian, x, 4, seeded())
    assert torch.equal(moved, x)
    assert summary.gradient_evaluations == 100 * (1 + 4) and summary.acceptance == 0


@pytest.mark.parametrize(("height", "points"), [(900.0, 127), (1100.0, 20)])
def test_what_costs_a_thousand_nats_is_divergent(height, points):
    """A free particle never turns; beyond a cliff that is higher it does not go on."""

    class Plateau:
        def value_and_grad(self, x):
            return height * (x[:, 0].abs() > 1).to(x.dtype), torch.zeros_like(x)

    x, summary = run(NUTS(0.5, max_depth=7), Plateau(), torch.zeros(500, 1, dtype=torch.float64), 1, seeded())
    assert float(x.abs().max()) <= 1
    taken = summary.gradient_evaluations / 500 - 1
    assert taken == points if points == 127 else 1 < taken < points


def test_only_chains_that_go_on_take_gradients():
    class Watching:
        def __init__(self):
            self.sizes = []

        def value_and_grad(self, x):
            self.sizes.append(len(x))
            return gaussian(x), x.clone()

    kernel, energy = NUTS(0.3), Watching()
    state = kernel.init(energy, torch.randn(200, 3, generator=seeded(), dtype=torch.float64))
    energy.sizes.clear()
    _, info = kernel.step(energy, state, seeded())
    assert info.evaluations == sum(energy.sizes)
    assert energy.sizes == sorted(energy.sizes, reverse=True)
    assert energy.sizes[0] == 200 and len(set(energy.sizes)) > 3
