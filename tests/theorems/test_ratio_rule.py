"""Which losses f(E(x') - E(x)) become score matching for little noise, and at what temperature the others learn."""

import math

import pytest
import torch

from ebmpipe.derivatives import slope_and_laplacian
from ebmpipe.flips import value_and_flips
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.states import all_states
from ebmpipe.theorems.cd_step import attached_objective
from ebmpipe.theorems.examples import Waves, points
from ebmpipe.theorems.laws import Mixture, grid
from ebmpipe.theorems.limits import SHAPES, STEPS, fitted_slope, gradients, named
from ebmpipe.theorems.ratio_rule import OBEYING, RatioRule, curvature_ratio, derivatives, noise_limit, whole_ratio

#: f(E(x') - E(x)) of other κ, as functions of E(x) and E(x').
OTHERS = {
    "whole": (whole_ratio, 1.0),
    "square": (lambda here, there: (1 - (there - here)).square() / 2, 1.0),
    "linear": (lambda here, there: here - there, 0.0),
    "milder": (lambda here, there: (0.3 * (here - there)).exp(), 0.3),
}


def power(ratio):
    """f(a) = exp(-κa), of that κ."""
    return lambda here, there: (ratio * (here - there)).exp()


@pytest.mark.parametrize("name", OBEYING)
def test_the_methods_obey(name):
    assert derivatives(OBEYING[name])[0] < 0 and curvature_ratio(OBEYING[name]) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_others_do_not(name):
    loss, ratio = OTHERS[name]
    assert curvature_ratio(loss) == pytest.approx(ratio, abs=1e-12)


@pytest.mark.parametrize("name", OBEYING)
def test_what_is_least_at_the_truth_for_noise_of_any_size_obeys(name):
    """The truth is stationary where q(x) f'(a) + q(x') f'(-a)·(-1) = 0 at q(x')/q(x) = exp(-a): f'(a) exp(a/2) is even, so that its slope
    at 0 vanishes, which is the rule."""
    a = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(OBEYING[name](torch.zeros_like(a), a).sum(), a)
    even = (first * (a / 2).exp()).detach()
    torch.testing.assert_close(even, even.flip(0))


@pytest.mark.parametrize("name", [*OBEYING, *OTHERS])
@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_every_loss_comes_to_the_objective_of_its_ratio(name, shape):
    """The gradient in the weights, with order 2; of those that obey it is that of score matching."""
    loss = OBEYING[name] if name in OBEYING else OTHERS[name][0]
    first, ratio = derivatives(loss)[0], curvature_ratio(loss)
    found = gradients(shape, lambda energy, x, step: RatioRule.mean(loss, energy, x, step), STEPS[-5:])

    def leading(energy, x, step):
        return -first * step**2 / 2 * noise_limit(energy, x, ratio)

    wanted = gradients(shape, leading, STEPS[-5:])
    errors = abs(found - wanted).max(1) / abs(wanted).max(1)
    assert fitted_slope(STEPS[-5:], errors) == pytest.approx(2, abs=0.05) and errors[-1] < 0.02
    if name in OBEYING:
        matching = gradients(shape, lambda energy, x, step: RatioRule.score_matching(loss, energy, x, step), STEPS[-5:])
        assert abs(wanted - matching).max() < 1e-12 * abs(wanted).max()


@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_the_objectives(shape):
    energy, x = Waves(shape), points(shape)
    _, slope, laplacian = slope_and_laplacian(energy, x)
    torch.testing.assert_close(noise_limit(energy, x, 0.5), implicit_score_matching(energy, x))
    # That of the whole ratio is what a sample of contrastive divergence that stays attached trains.
    torch.testing.assert_close(noise_limit(energy, x, 1.0), attached_objective(energy, x))
    torch.testing.assert_close(noise_limit(energy, x, 0.3), 0.3 * slope.flatten(1).square().sum(1) - laplacian)


@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_a_loss_that_disobeys_stays_away(shape):
    found = RatioRule().errors(shape)
    assert abs(fitted_slope(STEPS, found["against_j"])) < 0.03 and found["against_j"][-1] > 0.3
    assert fitted_slope(STEPS, found["missed"]) == pytest.approx(2, abs=0.05) and found["missed"][-1] < 0.01


@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
def test_the_optimum_is_the_law_at_another_temperature(ratio):
    """κ E'² - E'' under a mixture, on a grid, has the energies -t log q with slope zero at t = 1/(2κ), and is least there."""
    q = Mixture((0.4, 0.6), (-0.8, 0.9), (0.5, 0.3))
    x, h = grid(-8, 8, 801)
    t = torch.tensor(1 / (2 * ratio), dtype=torch.float64, requires_grad=True)
    density = q.log_density(x).exp()

    def objective(t):
        return (density * noise_limit(lambda y: t * q.energy(y), x, ratio)).sum() * h

    (slope,) = torch.autograd.grad(objective(t), t)
    assert abs(float(slope)) < 1e-10
    # And not along the scale alone: no wave makes it less.
    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    moved = (density * noise_limit(lambda y: q.energy(y) / (2 * ratio) + s * torch.sin(1.7 * y[:, 0] + 0.4), x, ratio)).sum() * h
    (along,) = torch.autograd.grad(moved, s)
    assert abs(float(along)) < 1e-10
    assert float(objective(t * 1.1).detach()) > float(objective(t).detach()) < float(objective(t * 0.9).detach())


@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
def test_of_powers_that_is_so_for_neighbours_of_any_distance(ratio):
    """On states, whose flips are far: the gradient of E_q Σ exp(-κ a) in every E(x) vanishes at E = -log q / (2κ), by enumeration."""
    x = torch.from_numpy(all_states((4,))).double()
    log_q = torch.log_softmax(-Waves((4,))(x), 0).detach()
    table = (-log_q / (2 * ratio)).requires_grad_(True)
    bits = 2 ** torch.arange(4)

    def energy(states):
        return table[((states > 0).long() * bits).sum(1)]

    _, changes = value_and_flips(energy, x)
    loss = (log_q.exp() * power(ratio)(torch.zeros_like(changes), changes).sum(1)).sum()
    (slope,) = torch.autograd.grad(loss, table)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-14)


def test_the_card_has_the_ratios():
    numbers = RatioRule().measure().numbers
    assert numbers["ratio_whole"] == 1 and all(math.isclose(numbers[f"ratio_{name}"], 0.5) for name in OBEYING)
