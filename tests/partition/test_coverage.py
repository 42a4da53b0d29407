"""What a bracket promises: that the truth lies in it, and that it is narrow. Two hundred times each, with samples that are exact."""

import pytest
import torch
from annealing_targets import Boxed, Gaussian, Mixture

from ebmpipe.energies import GaussianLaw, UniformLaw
from ebmpipe.partition import Bridge, adapted_ladder, backward, forward
from ebmpipe.partition.annealing import tried
from ebmpipe.partition.bracket import ERRORS
from ebmpipe.partition.estimates import pooled
from ebmpipe.samplers import HMC, MALA
from ebmpipe.supports import Box

TIMES, REPEATS = 200, 32


def uneven(shape, low, high):
    """Numbers from low to high over an event, in no simple order."""
    n = int(torch.tensor(shape).prod())
    return torch.linspace(low, high, n)[torch.arange(n) * 7 % n].view(shape) if n % 7 else torch.linspace(low, high, n).view(shape)


def centres(count, dimension, radius):
    return radius * torch.randn(count, dimension, generator=torch.Generator().manual_seed(3))


THIRDS = torch.tensor([0.1, 0.2, 0.7])
GAUSS, WIDE = GaussianLaw, 1.4
#: Base, energy, kernel, variance of log w, chains of a repeat, widest median.
CASES = {
    "gaussian-2": (GAUSS((2,), 0.0, WIDE), Gaussian(uneven((2,), -0.4, 0.4), uneven((2,), 0.6, 1.1)), HMC(0.5, 3), 0.03, 10, 0.05),
    "gaussian-10": (GAUSS((10,), 0.0, WIDE), Gaussian(uneven((10,), -0.3, 0.3), uneven((10,), 0.9, 1.1)), HMC(0.5, 3), 0.03, 10, 0.05),
    "gaussian-64": (GAUSS((64,), 0.0, WIDE), Gaussian(uneven((64,), -0.2, 0.2), uneven((64,), 0.9, 1.1)), HMC(0.5, 3), 0.35, 10, 0.2),
    "gaussian-image": (
        GAUSS((1, 8, 8), 0.0, WIDE), Gaussian(uneven((1, 8, 8), -0.2, 0.2), uneven((1, 8, 8), 0.9, 1.1)), MALA(0.5), 0.35, 10, 0.2,
    ),
    "mixture-2": (GAUSS((2,), 0.0, WIDE), Mixture(centres(3, 2, 1.2), THIRDS, 0.5), HMC(0.3, 3), 0.03, 10, 0.05),
    "mixture-10": (GAUSS((10,), 0.0, 1.2), Mixture(centres(3, 10, 0.4), THIRDS, 0.8), MALA(0.5), 0.03, 10, 0.05),
    "mixture-64": (GAUSS((64,), 0.0, 1.2), Mixture(centres(3, 64, 0.2), THIRDS, 0.9), HMC(0.5, 3), 0.35, 10, 0.2),
    "box-10": (UniformLaw((10,), Box(-1.0, 1.0)), Boxed(uneven((10,), 0.3, 0.9)), HMC(0.5, 3), 0.03, 10, 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_bracket_covers_the_truth_and_is_narrow(name):
    base, energy, kernel, variance, n, widest = CASES[name]
    generator, bridge = torch.Generator().manual_seed(0), Bridge(base, energy)
    ladder = tried(bridge, adapted_ladder(bridge, kernel, 1000, generator, variance), kernel, 1000, generator, variance, 2000)
    there, back = [], []
    for _ in range(20):  # in parts that fit the cache
        repeats = TIMES * REPEATS // 20
        there += forward(bridge, ladder, kernel, repeats, n, generator)[0].repeats
        back += backward(bridge, ladder, kernel, energy.sample(repeats * n, generator), repeats, generator).repeats
    (low, low_error), (high, high_error) = (
        pooled(sign * torch.tensor(each, dtype=torch.float64).view(TIMES, REPEATS)) for sign, each in ((1, there), (-1, back))
    )
    lower, upper = low - ERRORS * low_error, -high + ERRORS * high_error
    covered = int(((lower <= energy.log_z) & (energy.log_z <= upper)).sum())
    median = float((upper - lower).median())
    print(f"{name}: {covered}/{TIMES} cover, median width {median:.3f}, {ladder.levels} levels")
    assert covered >= 180
    assert median <= widest
