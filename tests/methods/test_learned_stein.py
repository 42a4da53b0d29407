"""Learned Stein discrepancy: the best critic and what it is worth, Stein's identity, and the gradient that the energy follows."""

import math
from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BASE_WIDTH
from ebmpipe.event_map import EventMapConfig
from ebmpipe.methods import build
from ebmpipe.methods.learned_stein import Critic, seen_by_critic, stein_statistic
from ebmpipe.methods.score_matching import explicit_score_matching
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N, VARIANCE, PRECISION = 200_000, 0.6, 0.8


def drawn(shape, variance=VARIANCE, n=N):
    """Examples of N(0, variance), and random signs."""
    generator = torch.Generator().manual_seed(0)
    x = variance**0.5 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(2, x.shape, generator=generator).double() * 2 - 1


def objective(shape, critic, penalty):
    """E[s·f + div f] - λ E‖f‖², and its standard error."""
    x, v = drawn(shape)
    statistic, square = stein_statistic(x, -PRECISION * x, critic, v)
    each = statistic - penalty * square
    return float(each.mean().detach()), float(each.std().detach()) / math.sqrt(N)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [0.1, 0.5, 10.0])
def test_the_best_critic_is_worth_the_squared_difference_of_the_scores_over_four_lambda(shape, penalty):
    difference = 1 / VARIANCE - PRECISION  # of the scores, times x
    expected = difference**2 * VARIANCE * math.prod(shape) / (4 * penalty)
    found, error = objective(shape, lambda x: difference * x / (2 * penalty), penalty)
    assert found == pytest.approx(expected, abs=5 * error)
    assert error < expected / 20
    for critic in (
        lambda x: difference * x / (3 * penalty),
        lambda x: difference * x / penalty,
        lambda x: -difference * x / (2 * penalty),
        lambda x: difference * x / (2 * penalty) + 0.3 / penalty * torch.sin(x),
    ):
        assert objective(shape, critic, penalty)[0] < found


@pytest.mark.parametrize("shape", SHAPES)
def test_of_its_own_law_no_critic_sees_a_difference(shape):
    x, v = drawn(shape, 1 / PRECISION)
    statistic, _ = stein_statistic(x, -PRECISION * x, lambda y: torch.sin(y + y.flatten(1).sum(1).view(-1, *[1] * (y.dim() - 1))), v)
    assert abs(float(statistic.mean().detach())) < 5 * float(statistic.std().detach()) / math.sqrt(N)


def test_over_all_signs_the_derivative_is_the_divergence():
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def critic(y):
        return torch.stack([y[:, 0] ** 2 * y[:, 1], torch.cos(y[:, 0] * y[:, 1])], dim=1)

    signs = [torch.tensor(v, dtype=torch.float64).expand(5, 2) for v in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    found = torch.stack([stein_statistic(x, torch.zeros_like(x), critic, v)[0] for v in signs]).mean(0)
    divergence = 2 * x[:, 0] * x[:, 1] - x[:, 0] * torch.sin(x[:, 0] * x[:, 1])
    torch.testing.assert_close(found.detach(), divergence)


@pytest.mark.parametrize("shape", SHAPES)
def test_with_the_best_critic_the_energy_follows_the_gradient_of_fishers_divergence(shape):
    """At λ = ½ that of the mean of s·f, with f = s - ∇log p_data fixed, is that of ½‖s - ∇log p_data‖², example by example."""
    x, _ = drawn(shape, n=50)
    precision = torch.tensor(PRECISION, dtype=torch.float64, requires_grad=True)

    def energy(y):
        return precision * y.flatten(1).square().sum(1) / 2

    score = -precision * x
    (found,) = torch.autograd.grad(seen_by_critic(score, lambda y: (1 / VARIANCE - PRECISION) * y, x), precision)
    (expected,) = torch.autograd.grad(explicit_score_matching(energy, x, -x / VARIANCE).mean(), precision)
    torch.testing.assert_close(found, expected)


def test_critics_scale_as_scores_do():
    """In other units the same critic of the same weights is the same field, in those."""
    narrow, wide = (DataSpec("made_up", "vectors", (3,), mean, std, None, None, None, Path()) for mean, std in ((0.0, 1.0), (2.0, 10.0)))
    config = EventMapConfig(width=8)
    critic, other = Critic(narrow, config), Critic(wide, config)
    other.load_state_dict(critic.state_dict())
    x = torch.randn(5, 3)
    torch.testing.assert_close(other(2 + 10 * x), critic(x) / 10)


def test_updates_make_the_critic_see_more():
    """Of an energy that stands still: what it finds comes near to the most that there is to find."""
    spec = DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    still = {"batch_size": 1024, "critic": {"width": 8, "learning_rate": 0.02}, "optimiser": {"learning_rate": 1e-9}}
    method = build("learned_stein", spec, still, 0, network=NetworkConfig(name=QuadraticNetwork.name), iterations=300)
    generator = torch.Generator().manual_seed(0)
    found = [method.training_step(torch.randn(1024, 2, generator=generator), generator)["discrepancy"] for _ in range(300)]
    # The energy is its base at first: of precision 1 / BASE_WIDTH², where the data's is 1.
    expected = 2 * (1 - 1 / BASE_WIDTH**2) ** 2 / (4 * method.config.penalty)
    assert sum(found[-50:]) / 50 == pytest.approx(expected, rel=0.15)
