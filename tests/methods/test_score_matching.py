"""Score matching against closed forms: explicit and implicit agree up to the constant, and the truth is the optimum."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.methods.score_matching import explicit_score_matching, implicit_score_matching
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N = 200


def gaussian(shape, seed, low=0.4, high=1.5):
    """Mean (D,) and covariance (D, D) with standard deviations from ``low`` to ``high`` along its axes."""
    generator = torch.Generator().manual_seed(seed)
    dimension = math.prod(shape)
    axes = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, dtype=torch.float64))[0]
    mean = torch.randn(dimension, generator=generator, dtype=torch.float64)
    return mean, axes @ torch.linspace(low, high, dimension, dtype=torch.float64).square().diag() @ axes.T


def exact_sample(shape, mean, covariance):
    """Examples whose own mean and covariance are those given: means of quadratic functions over them are expectations."""
    x = torch.randn(N, len(mean), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x - x.mean(0)
    x = torch.linalg.solve(torch.linalg.cholesky(x.T @ x / N), x.T).T
    return (mean + x @ torch.linalg.cholesky(covariance).T).view(N, *shape)


def energy_of(mean, precision):
    def energy(x):
        z = x.flatten(1) - mean
        return ((z @ precision) * z).sum(1) / 2

    return energy


def losses(shape, model_mean, precision):
    """Explicit and implicit, one value each per example, for data of `gaussian` with seed 1."""
    mean, covariance = gaussian(shape, 1)
    x = exact_sample(shape, mean, covariance)
    data_score = -((x.flatten(1) - mean) @ covariance.inverse()).view(x.shape)
    energy = energy_of(model_mean, precision)
    return explicit_score_matching(energy, x, data_score), implicit_score_matching(energy, x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [2, 3])
def test_closed_forms_and_the_constant_between_them(shape, seed):
    (mean, covariance), (model_mean, model_covariance) = gaussian(shape, 1), gaussian(shape, seed, 0.6, 1.1)
    precision, true_precision = model_covariance.inverse(), covariance.inverse()
    explicit, implicit = losses(shape, model_mean, precision)
    assert explicit.shape == implicit.shape == (N,)
    apart = (precision @ (mean - model_mean)).square().sum() / 2
    difference = precision - true_precision
    torch.testing.assert_close(explicit.mean(), (difference @ covariance @ difference).trace() / 2 + apart)
    torch.testing.assert_close(implicit.mean(), (precision @ covariance @ precision).trace() / 2 - precision.trace() + apart)
    # ½ E‖∇log p_data‖².
    torch.testing.assert_close(explicit.mean() - implicit.mean(), true_precision.trace() / 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_truth_is_the_optimum_and_the_wrong_sign_loses(shape):
    mean, covariance = gaussian(shape, 1)
    truth = covariance.inverse()
    at = [mean.clone().requires_grad_(True), truth.clone().requires_grad_(True)]
    for values in losses(shape, *at):
        for slope in torch.autograd.grad(values.mean(), at, retain_graph=True):
            torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)
    best = [values.mean() for values in losses(shape, mean, truth)]
    torch.testing.assert_close(best[0], torch.zeros_like(best[0]))
    torch.testing.assert_close(best[1], -truth.trace() / 2)
    for shift, factor in [(0.0, -1.0), (0.0, 0.7), (0.0, 1.3), (0.3, 1.0), (0.0, 0.0)]:
        for values, least in zip(losses(shape, mean + shift, factor * truth), best, strict=True):
            assert values.mean() > least + 1e-3


@pytest.mark.parametrize("name", ["eight_gaussians", "two_moons"])
def test_the_constant_is_the_same_for_energies_that_are_no_gaussians(name):
    """By the midpoint rule over the plane, with the score that the method itself takes, for energies that grow like polynomials."""
    density = registry.load("data", name)()
    axis = np.arange(-density.reach, density.reach, density.step) + density.step / 2
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = torch.from_numpy(np.exp(density.log_density(points))) * density.step**2
    x, data_score = torch.from_numpy(points), torch.from_numpy(density.score(points))
    constant = float((mass * data_score.square().sum(1)).sum() / 2)
    energies = [
        lambda v: v.pow(4).sum(1) / 20 + (3 * v[:, 0]).sin() * v[:, 1],
        lambda v: -(v.square().sum(1) / 2),
        lambda v: (2 * v[:, 0] - v[:, 1]).tanh() * 5,
    ]
    for energy in energies:
        explicit = float((mass * explicit_score_matching(energy, x, data_score).detach()).sum())
        implicit = float((mass * implicit_score_matching(energy, x).detach()).sum())
        assert explicit - implicit == pytest.approx(constant, rel=1e-5)


def made(name="eight_gaussians", kind="density", shape=(2,), **settings):
    spec = DataSpec(name, kind, shape, 0.0, 2.0, None, None, None, Path())
    return build("score_matching", spec, {"batch_size": 64} | settings, network=NetworkConfig(settings={"width": 8}))


def test_an_update_is_of_the_form_that_was_asked_for():
    density = registry.load("data", "eight_gaussians")()
    x = torch.from_numpy(density.sample(64, np.random.default_rng(0))).float()
    method = made(form="explicit")
    expected = explicit_score_matching(method.live, x, torch.from_numpy(density.score(x.double().numpy())).float()).mean().detach()
    assert method.training_step(x, torch.Generator())["loss"] == pytest.approx(float(expected), rel=1e-5)
    method = made()
    expected = implicit_score_matching(method.live, x).mean().detach()
    assert method.training_step(x, torch.Generator())["loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "digits", "kind": "images", "shape": (1, 8, 8)}, "score of the data.*digits is unknown"),
        ({"name": "table", "kind": "vectors"}, "score of the data.*table is unknown"),
        ({"name": "checkerboard"}, "checkerboard has edges"),
        ({"data_noise": 0.1}, "data_noise: 0"),
    ],
    ids=["images", "vectors", "edges", "noise"],
)
def test_explicit_is_refused_where_the_score_is_unknown(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings, form="explicit")
    made(**settings)


def test_a_box_is_refused():
    with pytest.raises(ValueError, match="cannot train an energy on a box"):
        made("digits", "images", (1, 8, 8), support="box")
