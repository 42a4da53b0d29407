"""Noise contrastive estimation against closed forms: the optimum is the truth and c is log Z."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.methods.noise_contrast import accuracy, contrast
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 2, 2)]


def log_normal(x, variance):
    return (-(x**2) / (2 * variance) - math.log(2 * math.pi * variance) / 2).flatten(1).sum(1)


def objective(precision, log_partition, shape, ratio, n=20_000, data_variance=0.6, noise_variance=1.0):
    generator = torch.Generator().manual_seed(0)
    x = math.sqrt(data_variance) * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    y = math.sqrt(noise_variance) * torch.randn(n * ratio, *shape, generator=generator, dtype=torch.float64)

    def log_ratio(v):
        return -precision * v.flatten(1).square().sum(1) / 2 - log_partition - log_normal(v, noise_variance)

    on_data, on_noise = contrast(log_ratio(x), log_ratio(y), ratio)
    return on_data, ratio * on_noise


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ratio", [1, 3])
def test_the_truth_is_the_optimum_and_c_is_log_z(shape, ratio):
    dimension = math.prod(shape)
    truth = (1 / 0.6, dimension / 2 * math.log(2 * math.pi * 0.6))
    precision, log_partition = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in truth)
    on_data, on_noise = objective(precision, log_partition, shape, ratio)
    slopes = torch.autograd.grad(on_data.mean() + on_noise.mean(), (precision, log_partition))
    # Standard deviations of the per-example derivatives are below D and ν; five standard errors of 20,000 examples.
    for slope in slopes:
        assert abs(float(slope)) < 5 * 2 * ratio * dimension / math.sqrt(20_000)
    best = float(on_data.mean() + on_noise.mean())
    for a, c in [(0.7, 0.0), (1.4, 0.0), (1.0, 0.5), (1.0, -0.5), (-1.0, 0.0)]:
        parts = objective(a * truth[0], truth[1] + c, shape, ratio)
        assert float(parts[0].mean() + parts[1].mean()) > best


def test_newton_from_a_wrong_start_finds_log_z():
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def loss(p):
        return sum(part.mean() for part in objective(p[0], p[1], (1,), 4, n=100_000))

    for _ in range(8):
        slope = torch.autograd.functional.jacobian(loss, parameters)
        curvature = torch.autograd.functional.hessian(loss, parameters)
        parameters = parameters - torch.linalg.solve(curvature, slope)
    assert float(parameters[0]) == pytest.approx(1 / 0.6, rel=0.02)
    assert float(parameters[1]) == pytest.approx(math.log(2 * math.pi * 0.6) / 2, abs=0.02)


def test_value_where_data_and_noise_cannot_be_told_apart():
    on_data, on_noise = contrast(torch.zeros(3), torch.zeros(6), 2)
    torch.testing.assert_close(on_data, torch.full((3,), math.log(3.0)))
    torch.testing.assert_close(on_noise, torch.full((6,), math.log(1.5)))


def test_extreme_logits_stay_finite():
    on_data, on_noise = contrast(torch.tensor([-1e4, 1e4]), torch.tensor([-1e4, 1e4]), 1)
    assert on_data.tolist() == [1e4, 0.0]
    assert on_noise.tolist() == [0.0, 1e4]


TRUE_PRECISION = 1.7


def asymptotic_ratio(ratio):
    """Variance of λ by NCE over that by maximum likelihood, of E = λx²/2 with free c and noise N(0, 1), for many examples.

    The estimator's covariance is H⁻¹ but for the entry of c, with H = ∫ ψψᵀ p νq/(p + νq) and ψ = -(x²/2, 1) (Gutmann & Hyvärinen 2012,
    theorem 3); that of maximum likelihood is 2λ². H is taken from the loss itself.
    """
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    log_noise = log_normal(x[:, None], 1.0)
    data, noise = log_normal(x[:, None], 1 / TRUE_PRECISION).exp(), log_noise.exp()

    def objective_of(parameters):
        on_data, on_noise = contrast(*2 * [-parameters[0] * x.square() / 2 - parameters[1] - log_noise], ratio)
        return (data * on_data + ratio * noise * on_noise).sum() * (x[1] - x[0])

    truth = torch.tensor([TRUE_PRECISION, math.log(2 * math.pi / TRUE_PRECISION) / 2], dtype=torch.float64)
    assert torch.autograd.functional.jacobian(objective_of, truth).abs().max() < 1e-9
    covariance = torch.linalg.inv(torch.autograd.functional.hessian(objective_of, truth))
    return float(covariance[0, 0]) / (2 * TRUE_PRECISION**2)


def test_variance_falls_to_that_of_maximum_likelihood_as_noise_abounds():
    ratios = [asymptotic_ratio(ratio) for ratio in (1, 4, 16, 256)]
    assert ratios == pytest.approx([1.5354, 1.1440, 1.0370, 1.0023], abs=2e-3)
    assert all(a > b > 1 for a, b in pairwise(ratios))


@pytest.mark.parametrize("ratio", [1, 4])
def test_estimates_have_that_variance(ratio):
    repeats, n = 400, 500
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(repeats, n, generator=generator, dtype=torch.float64) / TRUE_PRECISION**0.5
    y = torch.randn(repeats, n * ratio, generator=generator, dtype=torch.float64)

    def loss(parameters, x, y):
        def log_ratio(v):
            return -parameters[0] * v.square() / 2 - parameters[1] - log_normal(v[:, None], 1.0)

        on_data, on_noise = contrast(log_ratio(x), log_ratio(y), ratio)
        return on_data.mean() + ratio * on_noise.mean()

    slope, curvature = (torch.func.vmap(f(loss)) for f in (torch.func.grad, torch.func.hessian))
    found = torch.tensor([[1.5, 0.7]], dtype=torch.float64).expand(repeats, 2)
    for _ in range(8):
        found = found - torch.linalg.solve(curvature(found, x, y), slope(found, x, y))
    assert slope(found, x, y).abs().max() < 1e-8
    of_likelihood = 1 / x.square().mean(1)
    measured = float(found[:, 0].var() / of_likelihood.var())
    # Of 400 repeats a variance is known to 7 %, the ratio of two to less than twice that.
    assert measured == pytest.approx(asymptotic_ratio(ratio), rel=0.25)
    assert float(found[:, 1].mean()) == pytest.approx(math.log(2 * math.pi / TRUE_PRECISION) / 2, abs=0.02)


def test_noise_from_a_flow_is_fitted_first_and_then_fixed():
    spec = DataSpec("gaussian", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    method = build("nce", spec, {"noise": "flow", "batch_size": 64, "flow": {"fit": 0.5}}, iterations=10)
    generator, weights = torch.Generator().manual_seed(0), []
    for _ in range(10):
        report = method.training_step(torch.randn(64, 2, generator=generator), generator)
        weights.append(torch.cat([w.detach().flatten() for w in method.flow.learner.network.parameters()]))
        assert ("flow_nll" in report) == (len(weights) <= 5)
    assert not torch.equal(weights[3], weights[4])
    assert torch.equal(weights[4], weights[9])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"noise": "flow", "flow": {"fit": 0.0}}, "never fitted"), ({"flow": {"width": 8}}, "do nothing where noise is gaussian")],
)
def test_settings_of_a_flow_that_do_nothing_are_refused(settings, message):
    spec = DataSpec("gaussian", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    with pytest.raises(ValueError, match=f"nce: .*{message}"):
        build("nce", spec, settings, iterations=10)


@pytest.mark.parametrize("ratio", [1, 4])
def test_the_method_learns_log_z_whatever_the_ratio(ratio):
    """c is log Z of the energy beside it: the two together are normalised."""
    spec = DataSpec("gaussian", "vectors", (1,), 0.0, 1.0, None, None, None, Path())
    settings = {"ratio": ratio, "batch_size": 512, "optimiser": {"learning_rate": 0.05, "average_decay": 0.98}}
    method = build("nce", spec, settings, network=NetworkConfig(name=QuadraticNetwork.name), iterations=400)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        method.training_step(0.5 * torch.randn(512, 1, generator=generator), generator)
    x = torch.linspace(-8, 8, 4001)[:, None]
    with torch.no_grad():
        assert abs(float(method.learner.average.log_partition)) > 0.2, "log Z is too near zero for this to say anything"
        assert float((-method.energy(x)).logsumexp(0)) + math.log(16 / 4000) == pytest.approx(0, abs=0.03)


def test_accuracy_is_the_share_told_right_by_the_classifier_at_its_ratio():
    on_data, on_noise = torch.tensor([2.0, 1.0, -1.0, 0.5]), torch.tensor([-2.0, 1.0])
    assert float(accuracy(on_data, on_noise, 1.0)) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert float(accuracy(on_data, on_noise, 4.0)) == pytest.approx((1 / 4 + 1) / 2)


def test_the_method_reports_accuracy_at_its_own_ratio():
    """At first the energy is about the base, little wider than the noise: nearly nowhere four times as likely, so all is called noise."""
    spec = DataSpec("gaussian", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    method = build("nce", spec, {"ratio": 4, "noise_width": 1.25, "batch_size": 64}, iterations=2)
    generator = torch.Generator().manual_seed(0)
    report = method.training_step(torch.randn(64, 2, generator=generator), generator)
    assert float(report["accuracy"]) == pytest.approx(0.5, abs=0.02)
