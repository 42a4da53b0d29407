"""Fields that carry particles along with a learning energy: closed forms, conservation laws, signs and the order of an update."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import GaussianLaw
from ebmpipe.methods import build
from ebmpipe.methods.base import Setup
from ebmpipe.methods.particle_dynamics import ParticleDynamicsConfig
from ebmpipe.methods.pd_alpha import PDAlpha
from ebmpipe.methods.pd_beta import PDBeta
from ebmpipe.methods.pd_galerkin import PDGalerkin, PDGalerkinConfig, galerkin_field, quadratic_features
from ebmpipe.methods.pd_stein import PDStein, PDSteinConfig, smoothed_by_kernel
from ebmpipe.methods.walkers import Walkers
from ebmpipe.optimisation import Diverged
from ebmpipe.seeding import derive
from ebmpipe.spec import DataSpec

DOUBLE = torch.float64


def spec_of(*shape):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.0, 1.0, None, None, None, Path())


class Gaussian(nn.Module):
    """E of N(m, S) up to a constant."""

    def __init__(self, mean, covariance):
        super().__init__()
        self.mean, self.precision = nn.Parameter(mean.clone()), nn.Parameter(torch.linalg.inv(covariance))

    def forward(self, x):
        r = x - self.mean
        return ((r @ self.precision) * r).sum(1) / 2


def moving_gaussian(dimension):
    """Mean, covariance and their rates, of a Gaussian that shifts, turns and widens."""
    generator = torch.Generator().manual_seed(dimension)
    root, rate = torch.randn(2, dimension, dimension, generator=generator, dtype=DOUBLE)
    mean, shift = torch.randn(2, dimension, generator=generator, dtype=DOUBLE)
    return mean, root @ root.T + 0.5 * torch.eye(dimension, dtype=DOUBLE), shift, (rate + rate.T) / 2


def rate_of_energy(x, mean, covariance, shift, rate):
    """Ė = ½ (x - m)ᵀΛ̇(x - m) - (Λṁ)ᵀ(x - m), with Λ = S⁻¹ and Λ̇ = -ΛṠΛ; and its slope."""
    precision = torch.linalg.inv(covariance)
    precision_rate, r = -precision @ rate @ precision, x - mean
    return ((r @ precision_rate) * r).sum(1) / 2 - r @ (precision @ shift), r @ precision_rate - precision @ shift


def exact_field(x, mean, covariance, shift, rate):
    """ṁ + G (x - m) with S G + G S = Ṡ: the gradient field along which N(m, S) moves."""
    values, axes = torch.linalg.eigh(covariance)
    turned = axes.T @ rate @ axes
    g = axes @ (turned / (values[:, None] + values[None, :])) @ axes.T
    return shift + (x - mean) @ g


def quadrature(mean, covariance, nodes=4):
    """Points and weights of Gauss-Hermite quadrature under N(m, S): exact for polynomials up to degree 2 × nodes - 1 in each axis."""
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    d = len(mean)
    grid = torch.cartesian_prod(*[torch.from_numpy(at)] * d).view(-1, d)
    weights = torch.cartesian_prod(*[torch.from_numpy(weight / weight.sum())] * d).view(-1, d).prod(1)
    return mean + grid @ torch.linalg.cholesky(covariance).T, weights


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_galerkin_is_exact_for_gaussians(dimension):
    law = moving_gaussian(dimension)
    x, weights = quadrature(*law[:2])
    field = galerkin_field(*quadratic_features(x), rate_of_energy(x, *law)[0], weights)
    torch.testing.assert_close(field, exact_field(x, *law), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_exact_field_continues_the_density_and_the_paper_s_does_not(dimension):
    """∂p + div(p v) = 0, divided by p: -Ė + E_p Ė + div v - ∇E·v, by autograd."""
    law = moving_gaussian(dimension)
    mean, covariance = law[:2]
    at, weights = quadrature(mean, covariance)
    average = weights @ rate_of_energy(at, *law)[0]
    x = torch.randn(6, dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(2)).requires_grad_(True)

    def residual(field):
        v = field(x)
        divergence = sum(torch.autograd.grad(v[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(dimension))
        slope = (x - mean) @ torch.linalg.inv(covariance)
        return (average - rate_of_energy(x, *law)[0] + divergence - (slope * v).sum(1)).detach().abs().max()

    assert residual(lambda x: exact_field(x, *law)) < 1e-12
    assert residual(lambda x: -rate_of_energy(x, *law)[1]) > 1e-2


def displaced(method, config, law, x, h, **settings):
    """How far ``method`` carries particles ``x`` when N(m, S) moves on by ``h`` in time, divided by ``h``; data have a mean and a width."""
    mean, covariance, shift, rate = law
    energy = Gaussian(mean, covariance)

    class Made(method):
        def made(self, setup):
            return energy

    dimension = len(mean)
    spec = DataSpec("made_up", "vectors", (dimension,), 0.7, 1.6, None, None, None, Path())
    given = config.model_validate({"particles": len(x), "steps": 0, "longest": None} | settings)
    made = Made(Setup(spec, given, NetworkConfig(), 10, torch.Generator().manual_seed(0), {})).double()
    made.change.remember()
    with torch.no_grad():
        moved = Gaussian(mean + h * shift, covariance + h * rate)
        for parameter, new in zip(made.live.parameters(), moved.parameters(), strict=True):
            parameter.copy_(new)
    made.change.settle()
    return made.displacement(made.change, x, x) / h


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("method", [PDAlpha, PDBeta])
def test_the_paper_s_field_is_minus_the_slope_of_the_change(method, dimension):
    law = moving_gaussian(dimension)
    x = torch.randn(7, dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    found = displaced(method, ParticleDynamicsConfig, law, x, 1e-6)
    torch.testing.assert_close(found, -rate_of_energy(x, *law)[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("s2", "shift", "rate"), [(1.0, 1.0, 0.0), (0.3, 1.0, 0.0), (2.0, 0.0, 1.0), (0.5, 0.0, 1.0)])
@pytest.mark.parametrize("method", [PDAlpha, PDBeta])
def test_where_the_paper_s_field_is_exact(method, s2, shift, rate):
    """In one dimension: of a mean that moves iff s² = 1, of a variance iff s² = 2; else it is off by the factor 1/s² and 2/s²."""
    law = (
        torch.tensor([0.4], dtype=DOUBLE),
        torch.tensor([[s2]], dtype=DOUBLE),
        torch.tensor([shift], dtype=DOUBLE),
        torch.tensor([[rate]], dtype=DOUBLE),
    )
    x = torch.linspace(-2, 2, 6, dtype=DOUBLE)[:, None]
    ratio = displaced(method, ParticleDynamicsConfig, law, x, 1e-6) / exact_field(x, *law)
    torch.testing.assert_close(ratio, torch.full_like(x, 1 / s2 if shift else 2 / s2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_galerkin_follows_a_shift_whatever_the_units(dimension):
    """Particles that lie about the mean in pairs have no third moments, so that the field of a shift is the shift, in data units."""
    mean, covariance, shift, _ = moving_gaussian(dimension)
    half = torch.randn(30, dimension, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))
    half = half @ torch.linalg.inv(torch.linalg.cholesky(half.T @ half / len(half))).T @ torch.linalg.cholesky(covariance).T
    x = torch.cat([mean + half, mean - half])
    law = mean, covariance, shift, torch.zeros_like(covariance)
    found = displaced(PDGalerkin, PDGalerkinConfig, law, x, 1e-5, features="quadratic", ridge=0.0)
    torch.testing.assert_close(found, shift.expand_as(x), rtol=1e-3, atol=1e-3)


def test_galerkin_knows_the_slopes_of_the_head_s_inputs():
    torch.manual_seed(0)
    method = build("pd_galerkin", spec_of(3), {"particles": 4}, network=NetworkConfig(settings={"width": 6})).double()
    z = torch.randn(4, 3, dtype=DOUBLE).requires_grad_(True)
    features, slopes = method.of_the_head(z.detach(), z.shape)
    expected = method.live.network.features(z)
    torch.testing.assert_close(features, expected.detach())
    for k in range(6):
        torch.testing.assert_close(slopes[:, k], torch.autograd.grad(expected[:, k].sum(), z, retain_graph=True)[0])


@pytest.mark.parametrize("shape", [(1,), (2,), (5,)])
def test_galerkin_moves_the_features_as_the_model_does(shape):
    """Mean ∇f·v = -Cov(f, ΔE) over the particles themselves, whatever ΔE and however few they are."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(40, *shape, generator=generator, dtype=DOUBLE)
    change = torch.randn(40, generator=generator, dtype=DOUBLE).exp()
    features, slopes = quadratic_features(x)
    field = galerkin_field(features, slopes, change)
    torch.testing.assert_close(galerkin_field(features, slopes, change + 7.0), field, msg="a constant changes nothing")
    rates = torch.einsum("nkd,nd->k", slopes, field) / len(x)
    torch.testing.assert_close(rates, -torch.cov(torch.cat([features, change[:, None]], 1).T, correction=0)[:-1, -1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("steepness", [0.5, 1.0, 2.0])
def test_galerkin_comes_to_the_closed_form_in_one_dimension(steepness):
    """v = (1/p) ∫ p (Ė - E_p Ė) up to x, between two wells of b (x² - 1)² that are tilted: polynomials of degree 15 span it."""
    x = torch.linspace(-2.5, 2.5, 4001, dtype=DOUBLE)
    p = (-steepness * (x.square() - 1).square()).exp()
    p = p / p.sum()
    exact = ((p * (x - p @ x)).cumsum(0) - p * (x - p @ x) / 2) / p * (x[1] - x[0])
    degrees = torch.arange(1, 16, dtype=DOUBLE)
    z = x[:, None] / 2
    slopes = degrees * z ** (degrees - 1) / 2
    field = galerkin_field(z**degrees, slopes[:, :, None], x, p)[:, 0]
    # Which is what the cumulative distribution does when the energy changes by Ė = x: p v = -∂F, by a central difference.
    ahead, behind = ((-steepness * (x.square() - 1).square() - h * x).exp() for h in (1e-4, -1e-4))
    moved = [(q.cumsum(0) - q / 2) / q.sum() for q in (ahead, behind)]
    inside = x.abs() < 1.2
    torch.testing.assert_close(-((moved[0] - moved[1]) / 2e-4 / p * (x[1] - x[0]))[inside], exact[inside], rtol=1e-5, atol=1e-6)
    assert (field - exact)[inside].abs().max() < 0.02 * exact.abs().max()
    assert exact[2000] < -1.6  # mass crosses the barrier faster than the paper's field of -1 would have it


@pytest.mark.parametrize(("shift", "rate"), [(1.0, 0.0), (0.0, 1.0), (-0.5, 0.6)])
def test_the_smoothed_field_is_a_step_of_stein_variational_descent(shift, rate):
    """E_p[k ∇log p_new + ∇k] = -E_p[k ∇ΔE], by Stein's identity under p, whose quantiles stand for it."""
    mean, s2, bandwidth, step = 0.3, 0.8, 0.9, 1e-3
    law = tuple(torch.tensor(value, dtype=DOUBLE) for value in ([mean], [[s2]], [shift], [[rate]]))
    quantiles = torch.special.ndtri((torch.arange(2000, dtype=DOUBLE) + 0.5) / 2000)
    x = (mean + math.sqrt(s2) * quantiles)[:, None]
    found = step * displaced(PDStein, PDSteinConfig, law, x, step, bandwidth=bandwidth)
    new_mean, new_s2 = mean + step * shift, s2 + step * rate
    apart = x.T - x  # of each from every other
    k = (-(apart**2) / (2 * bandwidth**2)).exp()
    old, new = ((k * -(x.T - m) / v - apart / bandwidth**2 * k).mean(1) for m, v in ((mean, s2), (new_mean, new_s2)))
    # Under the old law the step is none but for what quantiles leave of it.
    inner = (x[:, 0] - mean).abs() < 1.5
    torch.testing.assert_close(found[inner, 0], (new - old)[inner], rtol=1e-3, atol=1e-3 * step)
    assert old.abs().max() < 5e-3


def test_the_smoothing_is_the_mean_over_particles():
    x, g = torch.randn(2, 9, 1, 2, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))
    plain = torch.stack(
        [sum(math.exp(-float((a - b).square().sum()) / (2 * 0.7**2)) * v for b, v in zip(x, g, strict=True)) / 9 for a in x]
    )
    torch.testing.assert_close(smoothed_by_kernel(x, g, 0.7), plain)
    pairs = [float((x[i] - x[j]).norm()) for i in range(9) for j in range(i)]
    torch.testing.assert_close(smoothed_by_kernel(x, g, None), smoothed_by_kernel(x, g, float(np.sort(pairs)[(len(pairs) - 1) // 2])))


class MeanModel(nn.Module):
    """E = (x - μ)²/(2 s²) with μ to be learned, from 0."""

    def __init__(self, s2):
        super().__init__()
        self.mean, self.s2 = nn.Parameter(torch.zeros((), dtype=DOUBLE)), s2

    def forward(self, x):
        return (x - self.mean).square().flatten(1).sum(1) / (2 * self.s2)


class PrecisionModel(nn.Module):
    """E = λ x²/2 with λ to be learned, from 1."""

    def __init__(self):
        super().__init__()
        self.precision = nn.Parameter(torch.ones((), dtype=DOUBLE))

    def forward(self, x):
        return self.precision * x.square().flatten(1).sum(1) / 2


def learning(method, config, model, particles, rate, updates, data):
    """``method`` after plain gradient descent of ``model`` on the same ``data`` in every update."""

    class Made(method):
        def made(self, setup):
            return model

    optimiser = {"sgd_after": 0.0, "sgd_learning_rate": rate, "schedule": "constant"}
    settings = config.model_validate({"particles": len(particles), "optimiser": optimiser} | learning.settings)
    made = Made(Setup(spec_of(*particles.shape[1:]), settings, NetworkConfig(), updates, torch.Generator().manual_seed(0), {})).double()
    made.particles.copy_(particles)
    generator = torch.Generator().manual_seed(1)
    path = []
    for _ in range(updates):
        made.training_step(data, generator)
        path.append([float(next(model.parameters())), float(made.particles.mean())])
    return made, path


def spread(n, mean, variance):
    """``n`` numbers (n, 1) with exactly this mean and variance."""
    x = torch.linspace(-1, 1, n, dtype=DOUBLE)
    return (mean + (x - x.mean()) / x.std(correction=0) * math.sqrt(variance))[:, None]


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_without_langevin_steps_particles_come_to_the_data_and_the_energy_does_not(alpha):
    """m ← m + (α η/s⁴)(m_data - m): geometric, the spread untouched; and the energy's mean ends at (s²/α)(m_data - m_0)."""
    s2, rate, start, target = 0.5, 0.02, 0.0, 2.0
    particles = spread(11, start, s2)
    learning.settings = {"steps": 0, "coefficient": alpha}
    made, path = learning(PDAlpha, ParticleDynamicsConfig, MeanModel(s2), particles, rate, 1000, spread(5, target, 0.1))
    factor = 1 - alpha * rate / s2**2
    for k in (1, 2, 10, 50):
        assert path[k - 1][1] == pytest.approx(target - (target - start) * factor**k)
    assert path[-1][0] == pytest.approx(s2 / alpha * (target - start))
    torch.testing.assert_close(made.particles - made.particles.mean(), particles - particles.mean())


def test_the_paper_s_field_does_not_keep_entropy():
    """Of E = λx²/2 it ends at λ = 0.648 for data of variance 2 and a rate of 0.1; the exact field at 1/2, without any Langevin step."""
    quantiles = torch.special.ndtri((torch.arange(2000, dtype=DOUBLE) + 0.5) / 2000)[:, None]
    data, particles = spread(7, 0.0, 2.0), quantiles / quantiles.std(correction=0)
    learning.settings = {"steps": 0}
    made, path = learning(PDAlpha, ParticleDynamicsConfig, PrecisionModel(), particles, 0.1, 300, data)
    assert path[-1][0] == pytest.approx(0.648, abs=5e-4)
    assert made.particles.square().mean() == pytest.approx(2)
    learning.settings = {"steps": 0, "features": "quadratic", "ridge": 0.0}
    made, path = learning(PDGalerkin, PDGalerkinConfig, PrecisionModel(), particles, 0.01, 3000, data)
    assert path[-1][0] == pytest.approx(0.5, rel=0.015)  # steps of 1 % are not infinitely small, nor 2000 particles a Gaussian
    assert path[-1][0] * made.particles.square().mean() == pytest.approx(1, rel=0.015)


class ByTheMap(PDAlpha):
    """The transport that is exact for E = λx²/2, of whatever length: y ← y √(λ_old/λ_new)."""

    def displacement(self, change, x, batch):
        return x * ((change.old.precision / change.new.precision).sqrt() - 1).detach()


@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_with_the_exact_transport_learning_is_maximum_likelihood_without_a_step_of_a_chain(variance):
    """The mean of y² is 1/λ for ever, so that λ ← λ - η (D - 1/λ)/2, which ends at 1/D."""
    rate, particles = 0.4 / variance**2, spread(20, 0.0, 1.0)
    learning.settings = {"steps": 0}
    made, path = learning(ByTheMap, ParticleDynamicsConfig, PrecisionModel(), particles, rate, 400, spread(7, 0.0, variance))
    expected = 1.0
    for value, _ in path:
        expected -= rate * (variance - 1 / expected) / 2
        assert value == pytest.approx(expected, rel=1e-12)
    assert path[-1][0] == pytest.approx(1 / variance, rel=1e-6)
    assert path[-1][0] * made.particles.square().mean() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(("alpha", "turns"), [(0.0, True), (1.0, False)])
def test_the_field_damps_learning(alpha, turns):
    """The linear map of (μ, mean of the particles) under PCD turns about its end, and does not with α λ ≥ 1; the simulation follows it."""
    s2, rate, step, steps, target = 1.0, 0.2, 0.1, 4, 1.0
    settings = {"steps": steps, "coefficient": alpha, "kernel": {"name": "ula", "settings": {"step_size": step}}}
    particles = spread(40_000, 0.0, s2)
    learning.settings = settings
    _, path = learning(PDAlpha, ParticleDynamicsConfig, MeanModel(s2), particles, rate, 40, spread(3, target, 0.1))
    decay = (1 - step**2 / 2 / s2) ** steps
    # Langevin steps towards μ, then μ by the contrast, then the particles by α/s² of what μ did; about the data's mean all is linear.
    langevin = np.array([[1, 0], [1 - decay, decay]])
    update = np.array([[1, -rate / s2], [0, 1]])
    field = np.eye(2) + alpha / s2 * np.array([[0, 0], [0, -rate / s2]])
    one = field @ update @ langevin
    state = np.array([0.0, 0.0]) - target
    for k in range(40):
        state = one @ state
        # Noise of every step, of standard deviation `step` over the root of the particles, adds up.
        assert np.allclose(path[k], state + target, atol=6 * step * math.sqrt(4 * steps * (k + 1) / 40_000))
    assert np.iscomplex(np.linalg.eigvals(one)).any() == turns


@pytest.mark.parametrize("s2", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
def test_learning_is_the_oscillator_that_it_is_said_to_be(s2, alpha):
    """Roots r of r² + λ(τ + αη) r + ητλ = 0, of learning and Langevin dynamics in small steps; and the ratio of damping to critical."""
    eta, tau, small = 0.6, 0.5, 1e-3
    decay = math.exp(-small * tau / s2)
    # One update by a rate of η and a Langevin time of τ, in units of `small`; the energy's mean moves by s²η times the contrast's slope.
    langevin = np.array([[1, 0], [1 - decay, decay]])
    update = np.array([[1, -small * eta], [0, 1]])
    field = np.eye(2) + alpha / s2 * np.array([[0, 0], [0, -small * eta]])
    found = np.log(np.linalg.eigvals(field @ update @ langevin).astype(complex)) / small
    rate = 1 / s2
    damping = rate * (tau + alpha * eta)
    expected = np.roots([1, damping, eta * tau * rate])
    assert np.allclose(
        sorted(found, key=lambda r: (r.imag, r.real)), sorted(expected, key=lambda r: (r.imag, r.real)), rtol=0.01, atol=2e-3
    )
    assert damping == pytest.approx(rate * tau * (1 + alpha * eta / tau))
    turns = math.sqrt(rate) * (tau + alpha * eta) < 2 * math.sqrt(eta * tau)
    assert np.iscomplex(expected).any() == turns
    if not alpha:
        assert turns == (rate < 4 * eta / tau)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 3, 3)])
def test_reweighting_is_exact(shape):
    """Particles of the old law, weighted by exp(-ΔE): the Fisher-Rao alternative, which is what `jarzynski` does."""
    law = GaussianLaw(shape, 0.0, 1.0)
    x = law.sample(200_000, torch.Generator().manual_seed(6))
    walkers = Walkers(x, law, 0.5, gradients=False)

    def new(x):
        return ((x - 0.3) / 0.9).flatten(1).square().sum(1) / 2

    weights = walkers.reweighted(new).population.weights()
    error = 5 / math.sqrt(200_000 / 4)
    assert float(weights @ x.flatten(1).double().mean(1)) == pytest.approx(0.3, abs=error)
    assert float(weights @ (x.flatten(1).double() - 0.3).square().mean(1)) == pytest.approx(0.81, abs=error)


class Recorded(PDAlpha):
    """Remembers which points each of its runs of a kernel started from and which weights it saw."""

    def run_under(self, kernel, x, steps, generator):
        self.log = [*getattr(self, "log", []), (x.clone(), [p.detach().clone() for p in self.live.parameters()], steps)]
        return super().run_under(kernel, x, steps, generator)

    def displacement(self, change, x, batch):
        self.carried = x.clone()
        return super().displacement(change, x, batch)


def test_what_begins_anew_is_of_the_old_energy_and_carried_with_the_others():
    settings = {"particles": 20, "steps": 3, "refresh": 0.3, "refresh_steps": 5}
    config = ParticleDynamicsConfig.model_validate(settings)
    torch.manual_seed(0)
    method = Recorded(Setup(spec_of(2), config, NetworkConfig(settings={"width": 8}), 10, torch.Generator().manual_seed(0), {}))
    before = method.particles.clone()
    old = [p.detach().clone() for p in method.live.parameters()]
    method.training_step(torch.randn(16, 2, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2))
    (first, weights, steps), (fresh, weights_fresh, steps_fresh) = method.log
    assert torch.equal(first, before)
    assert (steps, steps_fresh, len(fresh)) == (3, 5, 6)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(old, weights, weights_fresh, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(old, method.live.parameters(), strict=True))
    assert torch.equal(method.particles, method.carried - method.change.value_and_slope(method.carried)[1])


def test_langevin_steps_come_after_the_field_and_under_the_new_energy():
    """An update begins with the steps that the last one ends with: no random number lies between."""
    method = build("pd_alpha", spec_of(2), {"particles": 8, "steps": 2}, network=NetworkConfig(settings={"width": 8}))
    batch = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
    method.training_step(batch, torch.Generator().manual_seed(2))
    carried = method.particles.clone()
    expected, _ = method.run_under(method.kernel, carried, 2, torch.Generator().manual_seed(3))
    negatives = method.negatives(batch, torch.Generator().manual_seed(3))
    assert torch.equal(negatives.x, expected)
    assert torch.equal(method.particles, carried)


def test_a_coefficient_of_zero_is_pcd_with_all_chains():
    settings = {"particles": 8, "steps": 2, "coefficient": 0.0}
    method = build("pd_alpha", spec_of(2), settings, network=NetworkConfig(settings={"width": 8}))
    report = method.training_step(torch.randn(16, 2), torch.Generator().manual_seed(2))
    assert "field" not in report
    assert method.gradient_evaluations_per_step == 128 + 8 * (1 + method.kernel.cost(2))


@pytest.mark.parametrize("longest", [None, 1e-5, 10.0])
def test_steps_that_are_too_long_are_shortened_all_alike(longest):
    """To a root mean square distance in units of the data's width; one that is short enough is left alone."""
    spec = DataSpec("made_up", "vectors", (2,), 0.0, 2.5, None, None, None, Path())
    made = {}
    for limit in (None, longest):
        settings = {"particles": 30, "steps": 0, "longest": limit}
        method = build("pd_alpha", spec, settings, network=NetworkConfig(settings={"width": 8}))
        before = method.particles.clone()
        report = method.training_step(torch.randn(16, 2, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2))
        made[limit] = method.particles - before
    whole, found = made[None], made[longest]
    length = whole.square().sum(1).mean().sqrt()
    share = 1.0 if longest is None else min(1.0, longest * 2.5 / float(length))
    torch.testing.assert_close(found, share * whole, rtol=1e-2, atol=3e-7)
    assert ("allowed" in report) == (longest is not None)
    if longest is not None:
        assert float(report["allowed"]) == pytest.approx(share, rel=1e-3)
        assert (share < 1) == (longest == 1e-5)


def test_particles_may_begin_with_steps_of_the_kernel():
    network, cold = NetworkConfig(settings={"width": 8}), {"particles": 50, "kernel": {"name": "ula", "settings": {"step_size": 0.3}}}
    begun, plain = (build("pd_alpha", spec_of(2), cold | {"begin": begin}, network=network) for begin in (5, 0))
    assert not torch.equal(begun.particles, plain.particles)
    assert begun.gradient_evaluations_at_start == 50 * 5 and plain.gradient_evaluations_at_start == 0
    # From the same start and stream: the base's sample is drawn first.
    generator = Setup(spec_of(2), begun.config, network, 10, torch.Generator(), {}).generator
    generator.manual_seed(derive(0, "init", "chains"))
    start = begun.base.sample(50, generator)
    assert torch.equal(start, plain.particles)
    torch.testing.assert_close(begun.particles, begun.run_under(begun.kernel, start, 5, generator)[0])


def test_what_begins_anew_may_have_a_kernel_of_its_own():
    settings = {"particles": 20, "steps": 0, "refresh": 0.5, "refresh_steps": 40}
    frozen_out = {"name": "ula", "settings": {"step_size": 1e-6}}
    method = build("pd_alpha", spec_of(2), settings | {"refresh_kernel": frozen_out}, network=NetworkConfig(settings={"width": 8}))
    negatives = method.negatives(torch.randn(4, 2), torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    fresh = torch.randperm(20, generator=generator)[:10]
    assert torch.equal(negatives.fresh, fresh)
    torch.testing.assert_close(negatives.begun, method.base.sample(10, generator), atol=1e-4, rtol=0)
    assert method.gradient_evaluations_per_step == 128 + 20 + 10 * method.refresh_kernel.cost(40) + 2 * 20


def test_a_field_that_is_not_finite_is_divergence():
    class Broken(PDAlpha):
        def displacement(self, change, x, batch):
            return torch.full_like(x, math.inf)

    config = ParticleDynamicsConfig(particles=4, steps=1)
    method = Broken(Setup(spec_of(2), config, NetworkConfig(settings={"width": 8}), 10, torch.Generator().manual_seed(0), {}))
    with pytest.raises(Diverged, match="field"):
        method.training_step(torch.randn(4, 2), torch.Generator().manual_seed(1))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="spectral_norm"):
        build("pd_gamma", spec_of(2), {"spectral_norm": 1.0})
    with pytest.raises(ValueError, match="images"):
        build("pd_galerkin", spec_of(1, 8, 8), {})
    with pytest.raises(ValueError, match="features: quadratic"):
        build(
            "pd_galerkin",
            DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, None, None, Path()),
            {},
            network=NetworkConfig(name="quadratic_network:QuadraticNetwork"),
        )
