"""Flow contrastive estimation: which gradient the flow gets, against integrals; and what both sides come to where they agree."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.derivatives import to_first_order
from ebmpipe.energies import GaussianLaw
from ebmpipe.methods import build
from ebmpipe.methods.noise_contrast import contrast
from ebmpipe.methods.noise_flow import CoveredLaw, NoiseFlow, NoiseFlowConfig
from ebmpipe.spec import DataSpec

SPEC = DataSpec("gaussian", "vectors", (1,), 0.0, 1.0, None, None, None, Path())
GRID = torch.linspace(-12, 12, 4801, dtype=torch.float64)[:, None]
STEP = float(GRID[1, 0] - GRID[0, 0])


def normal(x, mean=0.0, std=1.0):
    return (-((x - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))).flatten(1).sum(1)


def value(log_data, log_model, log_noise):
    """V = E_data log σ(ℓ) + E_noise log σ(-ℓ) by quadrature, from densities on the grid."""
    on_data, on_noise = contrast(log_model - log_noise, log_model - log_noise, 1.0)
    return -float((log_data.exp() * on_data + log_noise.exp() * on_noise).sum()) * STEP


def test_at_the_best_energy_the_value_is_the_jensen_shannon_divergence():
    data, noise = normal(GRID, 0.5, 0.8), normal(GRID, -0.3, 1.4)
    half = torch.logaddexp(data, noise) - math.log(2)
    divergence = float((data.exp() * (data - half) + noise.exp() * (noise - half)).sum()) * STEP / 2
    best = value(data, data, noise)
    assert best == pytest.approx(2 * divergence - 2 * math.log(2), abs=1e-9)
    assert value(data, normal(GRID, 0.4, 0.8), noise) < best
    assert value(data, data, data) == pytest.approx(-2 * math.log(2))


def test_energies_seen_by_the_flow_have_their_value_and_their_gradient():
    x = torch.randn(5, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def energy(y):
        return (weight * y.flatten(1).sin()).sum(1)

    plain = energy(x)
    (slopes,) = torch.autograd.grad(plain.sum(), x, retain_graph=True)
    seen = to_first_order(plain.detach(), slopes, x)
    torch.testing.assert_close(seen, plain)
    torch.testing.assert_close(torch.autograd.grad(seen.square().sum(), x)[0], torch.autograd.grad(plain.square().sum(), x)[0])
    assert weight.grad is None


@pytest.fixture(params=[0.0, 0.3], ids=["flow alone", "covered"])
def method(request):
    """In one dimension, double precision, its energy and its flow moved away from where they start."""
    built = build("flow_contrastive", SPEC, {"flow": {"cover": request.param, "width": 8}}, network=NetworkConfig(settings={"width": 8}))
    built.double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weights in (*built.live.parameters(), *built.flow.learner.network.parameters()):
            weights.add_(0.3 * torch.randn(weights.shape, generator=generator, dtype=torch.float64))
    return built


def densities(method):
    """Of model and noise on the grid: log p with the learned constant, which need not be the right one, and log q."""
    with torch.no_grad():
        return -method.live(GRID), -method.flow.law(GRID)


def test_noise_is_sampled_with_the_density_that_it_is_told_by(method):
    _, log_noise = densities(method)
    assert float(log_noise.exp().sum()) * STEP == pytest.approx(1, abs=1e-4)
    x = method.flow.law.sample(50_000, torch.Generator().manual_seed(0)).double()
    for power in (1, 2):
        expected = float((log_noise.exp() * GRID[:, 0] ** power).sum()) * STEP
        assert abs(float((x**power).mean()) - expected) < 5 * float((x**power).std()) / 50_000**0.5


def test_the_flow_minimises_the_value(method):
    """The gradient of its loss, through samples and density, along a random direction of its weights is that of V by quadrature."""
    generator = torch.Generator().manual_seed(1)
    log_model, _ = densities(method)
    log_data, n = normal(GRID, 0.4, 0.7), 100_000
    weights = list(method.flow.learner.network.parameters())
    direction = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]

    def moved(by):
        with torch.no_grad():
            for weight, along in zip(weights, direction, strict=True):
                weight.add_(by * along)

    ends = []
    for by in (1e-3, -1e-3):
        moved(by)
        ends.append(value(log_data, log_model, densities(method)[1]))
        moved(-by)
    expected = (ends[0] - ends[1]) / 2e-3

    found = []
    for _ in range(20):
        data = 0.4 + 0.7 * torch.randn(n // 20, 1, generator=generator, dtype=torch.float64)
        noise = method.flow.law.reparametrised(n // 20, generator).double()
        minus_log_noise = method.flow.law(torch.cat([data, noise]))
        update = method.deceiving(method.live(data).detach(), noise, minus_log_noise)
        slopes = torch.autograd.grad(update.loss, weights)
        found.append(sum(float((a * b).sum()) for a, b in zip(slopes, direction, strict=True)))
    found = torch.tensor(found)
    assert abs(expected) > 0.01
    assert abs(float(found.mean()) - expected) < 5 * float(found.std()) / 20**0.5


def test_where_noise_and_data_agree_nothing_moves():
    """E + c = -log q and q the data's law: the gradient of V in E's values and in q's vanish, at every point."""
    log_model = normal(GRID).requires_grad_(True)
    log_noise = normal(GRID).requires_grad_(True)
    data = normal(GRID).exp()
    on_data, on_noise = contrast(log_model - log_noise, log_model - log_noise, 1.0)
    total = (data * on_data + log_noise.exp() * on_noise).sum() * STEP
    in_model, in_noise = torch.autograd.grad(total, (log_model, log_noise))
    assert in_model.abs().max() < 1e-12
    # In log q it is the density times a constant, log 2: nothing, for changes that leave q normalised.
    torch.testing.assert_close(in_noise, math.log(2) * data * STEP, atol=1e-12, rtol=1e-9)


def test_a_covered_law_is_a_mixture():
    torch.manual_seed(0)
    flow = NoiseFlow(SPEC, NoiseFlowConfig(cover=0.4, width=8), GaussianLaw.of(SPEC), "constant", 10).law.double()
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None].requires_grad_(True)
    mixed = 0.6 * (-flow.flow(x)).exp() + 0.4 * (-flow.gaussian(x)).exp()
    torch.testing.assert_close(flow(x), -mixed.log())
    (slope,) = torch.autograd.grad(flow(x).sum(), x)
    torch.testing.assert_close(flow.value_and_grad(x.detach()), (flow(x).detach(), slope))
    assert isinstance(flow, CoveredLaw)


def test_the_flow_is_fitted_first_and_pays_for_slopes_only_later():
    method = build("flow_contrastive", SPEC, {"batch_size": 16, "flow": {"fit": 0.5}}, iterations=6)
    generator = torch.Generator().manual_seed(0)
    reports = [method.training_step(torch.randn(16, 1, generator=generator), generator) for _ in range(6)]
    assert [report["gradient_evaluations"] for report in reports] == [32, 32, 32, 48, 48, 48]
    assert all(report["flow_loss"] == pytest.approx(-report["loss"], rel=1e-5) for report in reports[3:])


def test_its_own_samples_are_those_of_the_averaged_flow():
    method = build("flow_contrastive", SPEC, {"batch_size": 16}, iterations=6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        method.training_step(torch.randn(16, 1, generator=generator), generator)
    own = method.own_samples(2000, torch.Generator().manual_seed(0))
    assert own.sampler == "flow"
    assert own.x.shape == (2000, 1)
    averaged, live = (flow.sample(2000, torch.Generator().manual_seed(0)) for flow in (method.flow.average, method.flow.law.flow))
    assert torch.equal(own.x, averaged)
    assert not torch.equal(own.x, live)


def test_an_update_moves_the_flow_along_the_whole_gradient():
    """Through samples and density: that of V by plain autograd, with the energy differentiated in x."""
    method = build("flow_contrastive", SPEC, {"batch_size": 32, "flow": {"fit": 0.0, "width": 8}}, iterations=6)
    batch, taken = torch.randn(32, 1, generator=torch.Generator().manual_seed(3)), []
    noise = method.flow.law.reparametrised(32, torch.Generator().manual_seed(0))
    on_data, on_noise = (method.flow.law(x) - method.live(x) for x in (batch, noise))
    data_loss, noise_loss = contrast(on_data, on_noise, 1.0)
    expected = torch.autograd.grad(-data_loss.mean() - noise_loss.mean(), list(method.flow.learner.network.parameters()))
    assert sum(float(part.square().sum()) for part in expected) < 10**2, "clipped"
    method.flow.learner.update = taken.append
    method.training_step(batch, torch.Generator().manual_seed(0))
    for found, exact in zip(taken[0], expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("n", "cover"), [(1, 0.5), (4, 0.1), (25, 0.3), (8, 0.5)])
def test_the_share_drawn_from_the_gaussian_is_that_of_the_density(n, cover):
    """In the mean over many draws, however few samples one has."""
    law = CoveredLaw(NoiseFlow(SPEC, NoiseFlowConfig(width=8), GaussianLaw.of(SPEC), "constant", 10).law.flow, GaussianLaw.of(SPEC), cover)
    counts, generator = [], torch.Generator().manual_seed(0)
    law.gaussian.sample = lambda m, generator: counts.append(m) or torch.zeros(m, 1)
    for _ in range(400):
        assert len(law.sample(n, generator)) == n
    mean, spread = sum(counts) / 400, (n * cover) % 1
    assert abs(mean - n * cover) <= 5 * (spread * (1 - spread) / 400) ** 0.5 + 1e-9
