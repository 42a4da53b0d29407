"""How fast KL falls: closed forms, finite differences, and what a Fokker-Planck solution must keep."""

import math

import numpy as np
import pytest
import torch

from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.theorems import flows
from ebmpipe.theorems.flows import START, TARGET, Gaussian, gaussian_divergence, gaussian_fisher_divergence, gaussians
from ebmpipe.theorems.heat_flow import HeatFlow
from ebmpipe.theorems.langevin_flow import LangevinFlow
from ebmpipe.theorems.laws import Langevin, Mixture, divergence, fisher_divergence, grid

FLOWS = [HeatFlow, LangevinFlow]


def derivative(values, h):
    """Of five equidistant values, in the middle."""
    return (values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * h)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
@pytest.mark.parametrize("law", ["of_mixtures", "of_gaussians"])
@pytest.mark.parametrize("time", [0.05, 0.3, 1.0])
def test_kl_falls_at_the_speed_of_the_fisher_divergence(flow, law, time):
    """By finite differences of KL alone, which know nothing of D_F."""
    h = 1e-3
    found = getattr(flow(), law)(time + h * np.arange(-2, 3))
    assert derivative(found.kl, h) == pytest.approx(-flow.factor * found.fisher[2], rel=1e-7)
    assert found.rate[2] == pytest.approx(derivative(found.kl, h), rel=1e-7)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_the_stage_has_every_digit(flow):
    found = flow().measure()
    assert found.numbers["error_mixtures"] < 1e-10 and found.numbers["error_gaussians"] < 1e-12
    assert found.numbers["factor"] == flow.factor and len(found.arrays["kl_mixtures"]) == len(flows.TIMES)
    # Nothing of it is trivial: the laws are apart, and come together.
    assert found.arrays["kl_mixtures"][0] > 0.3 > found.arrays["kl_mixtures"][-1] > 0.01


def test_both_flows_start_from_the_same_two_laws():
    heat, langevin = (flow().measure().arrays for flow in FLOWS)
    for key in ("kl_mixtures", "fisher_mixtures", "kl_gaussians", "fisher_gaussians"):
        assert heat[key][0] == pytest.approx(langevin[key][0], rel=1e-9)


def test_the_gaussians_on_the_line():
    """N(m, S) under Langevin dynamics of N(0, 1) has mean m e^-t and variance 1 + (S - 1) e^-2t."""
    m, S, t = 0.7, 0.4, 0.6
    one = torch.ones(1, 1, dtype=torch.float64)
    q, p = Gaussian(torch.tensor([m], dtype=torch.float64), S * one), Gaussian(torch.zeros(1, dtype=torch.float64), one)
    moved, still = LangevinFlow().moved(q, p, torch.tensor(t, dtype=torch.float64))
    mean, variance = m * math.exp(-t), 1 + (S - 1) * math.exp(-2 * t)
    assert float(moved.mean) == pytest.approx(mean) and float(moved.covariance) == pytest.approx(variance) and still is p
    assert float(gaussian_divergence(moved, still)) == pytest.approx((variance + mean**2 - 1 - math.log(variance)) / 2)
    # ½ E (x - (x - m)/S)²
    assert float(gaussian_fisher_divergence(moved, still)) == pytest.approx(((1 - 1 / variance) ** 2 * variance + mean**2) / 2)


def test_closed_forms_of_gaussians_against_quadrature():
    """The same divergences on a grid, by the loss of explicit score matching."""
    q, p = Mixture((1.0,), (0.5,), (0.6,)), Mixture((1.0,), (-0.2,), (1.1,))
    x, h = grid(-10, 10, 801)
    closed = [Gaussian(torch.tensor(law.means, dtype=torch.float64), torch.tensor([law.variances], dtype=torch.float64)) for law in (q, p)]
    assert float(divergence(q, p, x, h)) == pytest.approx(float(gaussian_divergence(*closed)), rel=1e-12)
    fisher = fisher_divergence(q.log_density(x).exp(), q.score(x), p, x, h)
    assert fisher == pytest.approx(float(gaussian_fisher_divergence(*closed)), rel=1e-12)


def test_the_covariances_of_the_example_are_no_multiples_of_the_identity():
    for law in gaussians():
        assert (torch.linalg.eigvalsh(law.covariance) > 0).all() and law.covariance[0, 1].abs() > 0.05


def test_the_fokker_planck_solution_against_that_of_a_gaussian():
    m, S, variance, t = 0.6, 0.5, 0.8, 0.4
    x, h = grid(-7, 7, 281)
    density, score, _ = Langevin(Mixture((1.0,), (0.0,), (variance,)), x, h).at(Mixture((1.0,), (m,), (S,)), t)
    decay = math.exp(-t / variance)
    exact = Mixture((1.0,), (m * decay,), (variance + (S - variance) * decay**2,))
    np.testing.assert_allclose(density, exact.log_density(x).exp().numpy(), atol=1e-12)
    near = density > 1e-5
    np.testing.assert_allclose(score[near], exact.score(x).flatten().numpy()[near], rtol=1e-6, atol=1e-7)


def test_langevin_dynamics_keeps_mass_and_its_own_law_and_comes_to_it():
    x, h = grid(-7, 7, 281)
    dynamics = Langevin(TARGET, x, h)
    target = TARGET.log_density(x).exp().numpy()
    for time in (0.1, 1.0):
        assert dynamics.at(START, time)[0].sum() * h == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(dynamics.at(TARGET, time)[0], target, atol=1e-12)
    np.testing.assert_allclose(dynamics.at(START, 200.0)[0], target, atol=1e-10)


def test_the_heat_flow_is_a_convolution():
    """By quadrature, against the mixture with wider components."""
    x, h = grid(-10, 10, 801)
    kernel = torch.exp(-(x - x.T).square() / (2 * 0.3)) / math.sqrt(2 * math.pi * 0.3)
    torch.testing.assert_close(kernel @ START.log_density(x).exp() * h, START.widened(0.3).log_density(x).exp(), rtol=0, atol=1e-12)


def test_the_slowest_start_is_score_matching():
    """Minimum velocity learning: half the speed at which Langevin dynamics of a model sets out from the data, without one of them knowing
    the data's score, is the mean of the implicit loss up to what no model changes, ½ E_q (log q)'²."""
    x, h = grid(-7, 7, 281)
    q = START.log_density(x).exp()
    square = float((q * START.score(x).flatten().square()).sum() * h) / 2
    models = [TARGET, START, Mixture((1.0,), (0.2,), (0.6,)), Mixture((0.5, 0.5), (-0.9, 0.7), (0.4, 0.3))]
    speeds = [-Langevin(model, x, h).at(START, 0.0)[2] / 2 for model in models]
    for model, speed in zip(models, speeds, strict=True):
        implicit = float((q * implicit_score_matching(model.energy, x).detach()).sum() * h)
        assert speed == pytest.approx(implicit + square, abs=1e-9)
    assert abs(speeds[1]) < 1e-10 and min(speeds[0], *speeds[2:]) > 0.1
