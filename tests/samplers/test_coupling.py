"""Couplings: each chain of a pair has the law it would have alone, and the pair meets as often as it can. Tolerances are 5 SE."""

import math

import pytest
import torch
from scipy.stats import norm

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy
from ebmpipe.nets.base import build_network
from ebmpipe.samplers import MALA, run
from ebmpipe.samplers.coupling import Pairs, coupled_mala, reflection_maximal
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 2, 2)]
PAIRS = 40_000


def quartic(x):
    """Not Gaussian, with two wells in every coordinate and a slope between them."""
    return (x**4 / 4 - x**2 / 2 + x / 4).flatten(1).sum(1)


def close(values, expected, other_error=0.0):
    """Whether the mean of ``values`` (n,) is the expected one."""
    error = math.hypot(float(values.std()) / math.sqrt(len(values)), other_error)
    return abs(float(values.mean()) - expected) < 5 * error


def means(shape, distance, n=PAIRS):
    """Means ``distance`` apart in a direction along no axis."""
    direction = torch.arange(1.0, math.prod(shape) + 1, dtype=torch.float64).view(shape)
    a = torch.full((n, *shape), 0.3, dtype=torch.float64)
    return a, a - distance * direction / direction.norm()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("distance", [0.05, 0.5, 2.0])
class TestReflectionMaximal:
    scale = 0.5

    def drawn(self, shape, distance):
        a, b = means(shape, distance)
        return a, b, reflection_maximal(a, b, self.scale, torch.Generator().manual_seed(0))

    def test_draws_are_equal_as_often_as_their_laws_overlap(self, shape, distance):
        """The total variation distance of the laws bounds it: no coupling does better."""
        _, _, drawn = self.drawn(shape, distance)
        assert close(drawn.equal.double(), 2 * norm.cdf(-distance / (2 * self.scale)))
        assert torch.equal(drawn.equal, (drawn.x == drawn.y).flatten(1).all(1))

    def test_each_draw_has_its_own_law(self, shape, distance):
        a, b, drawn = self.drawn(shape, distance)
        along = (a - b) / distance
        for draw, mean, noise in ((drawn.x, a, drawn.x_noise), (drawn.y, b, drawn.y_noise)):
            torch.testing.assert_close(draw, mean + self.scale * noise)
            first = noise.flatten(1)[:, 0]
            for z in (first, (noise * along).flatten(1).sum(1)):
                for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
                    assert close(z**power, moment), power
            assert close(noise.flatten(1).square().sum(1), math.prod(shape))


def test_equal_means_give_equal_draws():
    a = torch.randn(50, 3)
    drawn = reflection_maximal(a, a.clone(), 0.1, torch.Generator().manual_seed(0))
    assert drawn.equal.all()
    assert torch.equal(drawn.x, drawn.y)
    assert torch.equal(drawn.x_noise, drawn.y_noise)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_chain_of_a_pair_is_one_of_mala(shape):
    """From one corner each, at a step where much is rejected: moments after a few steps against those of uncoupled chains."""
    n, steps, size = 20_000, 6, 0.9 / math.prod(shape) ** 0.25
    corners = [torch.full((n, *shape), at, dtype=torch.float64) for at in (1.5, 1.5 - 1.2 / math.sqrt(math.prod(shape)))]
    kernel, generator = MALA(size), torch.Generator().manual_seed(1)
    pairs = Pairs.of(*(kernel.init(quartic, corner) for corner in corners))
    for _ in range(steps):
        pairs, info = coupled_mala(quartic, pairs, size, generator)
        assert 0.2 < float(info.accept_prob.mean()) < 0.98
    for chain, corner in zip((pairs.x, pairs.y), corners, strict=True):
        alone, _ = run(kernel, quartic, corner, steps, generator)
        for statistic in (lambda x: x.flatten(1).sum(1), lambda x: x.flatten(1).square().sum(1), quartic):
            values, others = statistic(chain.x), statistic(alone)
            assert close(values, float(others.mean()), float(others.std()) / math.sqrt(n))
    assert pairs.met.double().mean() > 0.02


def based_network(shape=(2,)):
    torch.manual_seed(0)
    spec = DataSpec("made_up", "density", shape, 0.0, 1.0, None, None, None, None)
    return BasedEnergy(build_network(NetworkConfig(settings={"width": 16, "gain": 3.0}), spec), spec)


def test_chains_that_have_met_stay_one_to_the_bit():
    """Though batches change their size as pairs meet, and a network may then round differently. Caches are those of the positions."""
    energy, generator = based_network(), torch.Generator().manual_seed(0)
    start = torch.randn(300, 2)
    pairs, met = Pairs.of(*(MALA(0.5).init(energy, x) for x in (start, start + 0.3))), 0
    for _ in range(60):
        before = pairs.met
        pairs, _ = coupled_mala(energy, pairs, 0.5, generator)
        assert (pairs.met | ~before).all()
        assert torch.equal(pairs.met, (pairs.x.x == pairs.y.x).all(1))
        for one, other in zip(pairs.x[:3], pairs.y[:3], strict=True):
            assert torch.equal(one[pairs.met], other[pairs.met])
        for chain in (pairs.x, pairs.y):
            value, slope = energy.value_and_grad(chain.x)
            torch.testing.assert_close(chain.energy, value.detach())
            torch.testing.assert_close(chain.gradient, slope)
        met = int(pairs.met.sum())
    assert met > 250


def test_gradients_are_those_of_different_proposals():
    counted = []

    class Counting:
        def __call__(self, x):
            return quartic(x)

        def value_and_grad(self, x):
            counted.append(len(x))
            return quartic(x), x**3 - x + 0.25

    energy, generator = Counting(), torch.Generator().manual_seed(0)
    start = torch.randn(100, 2)
    pairs = Pairs.of(MALA(0.5).init(energy, start), MALA(0.5).init(energy, start + 0.2))
    for _ in range(30):
        counted.clear()
        apart = int((~pairs.met).sum())
        pairs, info = coupled_mala(energy, pairs, 0.5, generator)
        assert sum(counted) == info.evaluations <= 100 + apart
    assert pairs.met.all()
    assert info.evaluations == 100


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_no_chain_enters_where_the_energy_is_not_finite(bad):
    def half_line(x):
        return torch.where(x[:, 0] > 0, x[:, 0], torch.full_like(x[:, 0], bad))

    generator = torch.Generator().manual_seed(0)
    pairs = Pairs.of(*(MALA(1.0).init(half_line, torch.full((300, 1), at)) for at in (0.5, 1.5)))
    for _ in range(30):
        pairs, _ = coupled_mala(half_line, pairs, 1.0, generator)
    assert (pairs.x.x > 0).all()
    assert (pairs.y.x > 0).all()


def test_the_pairs_of_a_subset_are_taken_whole():
    pairs = Pairs.of(*(MALA(0.5).init(quartic, torch.randn(6, 2)) for _ in range(2)))
    which = torch.tensor([True, False, True, False, False, True])
    part = pairs.only(which)
    assert torch.equal(part.x.x, pairs.x.x[which])
    assert torch.equal(part.y.energy, pairs.y.energy[which])
    assert torch.equal(part.y.gradient, pairs.y.gradient[which])
    assert len(part.met) == 3
