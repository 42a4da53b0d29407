"""Blindness to the weights of distant modes, in numbers and in the losses that are trained."""

import math

import pytest
import torch

from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.theorems.laws import Mixture, fisher_divergence, grid
from ebmpipe.theorems.mixture_weights import PLACES, MixtureWeights

WEIGHTS = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)


@pytest.fixture(scope="module")
def found():
    return MixtureWeights().measure()


def test_modes_far_apart_hide_their_weights(found):
    assert found.numbers["fisher_at_8"] == pytest.approx(4.2e-14, rel=0.01)
    assert found.numbers["kl_at_8"] == pytest.approx(WEIGHTS, rel=1e-9) and round(WEIGHTS, 3) == 0.511
    assert found.numbers["kl_of_weights"] == pytest.approx(WEIGHTS)
    assert found.arrays["places"][-1] == 8


def test_the_fisher_divergence_falls_like_the_density_between_the_modes(found):
    """log D_F is -m²/2 but for logarithms of m: its slope in m² at the far end."""
    fisher = found.arrays["fisher"]
    far = PLACES > 5
    assert (fisher[1:][PLACES[1:] > 1.5][:-1] > fisher[1:][PLACES[1:] > 1.5][1:]).all()
    steps = [
        math.log(b / a) / (m * m - k * k) for a, b, k, m in zip(fisher[far], fisher[far][1:], PLACES[far], PLACES[far][1:], strict=False)
    ]
    assert all(-0.5 < step < -0.47 for step in steps)


def test_at_distance_zero_both_are_one_law(found):
    assert found.arrays["fisher"][0] < 1e-28 and abs(found.arrays["kl"][0]) < 1e-15


def test_noise_that_bridges_the_gap_brings_them_back(found):
    assert found.numbers["fisher_noisy_at_8"] > 1e10 * found.numbers["fisher_at_8"]
    assert found.numbers["fisher_noisy_at_8"] == pytest.approx(6.37e-3, rel=0.01)


@pytest.mark.parametrize("place", [1.0, 2.5])
def test_implicit_score_matching_has_the_same_blindness(place):
    """Its mean over the data is D_F up to a constant: half the data's Fisher information, with the other sign."""
    q, p = Mixture((0.5, 0.5), (-place, place), (1.0, 1.0)), Mixture((0.9, 0.1), (-place, place), (1.0, 1.0))
    x, h = grid(-place - 12, place + 12, 2001)
    density, score = q.log_density(x).exp(), q.score(x)
    implicit = float((density * implicit_score_matching(p.energy, x).detach()).sum() * h)
    information = float((density * score.flatten().square()).sum() * h)
    assert implicit + information / 2 == pytest.approx(fisher_divergence(density, score, p, x, h), abs=1e-12)


def test_a_gradient_in_the_weight_vanishes():
    """What a model would learn its weight from: the derivative of implicit score matching in it, against that of the likelihood."""
    logit = torch.tensor(math.log(9.0), dtype=torch.float64, requires_grad=True)

    def energy(x):
        one, other = (torch.nn.functional.logsigmoid(sign * logit) - (x.flatten() - sign * 6.0) ** 2 / 2 for sign in (1.0, -1.0))
        return -torch.logaddexp(one, other)

    q = Mixture((0.5, 0.5), (-6.0, 6.0), (1.0, 1.0))
    x, h = grid(-18, 18, 2001)
    density = q.log_density(x).exp()
    (blind,) = torch.autograd.grad((density * implicit_score_matching(energy, x)).sum() * h, logit)
    (seeing,) = torch.autograd.grad((density * energy(x)).sum() * h, logit)
    assert abs(float(blind)) < 1e-6 and float(seeing) == pytest.approx(0.4, rel=1e-6)
