"""The latent-variable model: its density, bound and samples against the linear Gaussian case, and what learning comes to."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from quadratic_network import QuadraticNetwork, gaussian_of
from torch import nn

from ebmpipe.bracketing import bracketed
from ebmpipe.config import NetworkConfig, PartitionConfig
from ebmpipe.energies import on_arrays, value_and_gradient
from ebmpipe.latent_variable import LatentVariableLaw
from ebmpipe.methods import build
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.scored import Scored
from ebmpipe.spec import DataSpec

SHAPES = [(2,), (5,), (1, 2, 3)]


def spec_of(shape, kind="vectors", mean=0.4, std=1.7):
    return DataSpec("made_up", kind, shape, mean, std, None, None, 2.0, Path())


class Linear(nn.Module):
    """g(z) = Az + b, whose columns are orthogonal, so that z given x is Gaussian with independent coordinates."""

    def __init__(self, shape, latent, generator):
        super().__init__()
        dimension = math.prod(shape)
        frame = torch.linalg.qr(torch.randn(dimension, latent, generator=generator, dtype=torch.float64))[0]
        self.shape, self.matrix = shape, frame * torch.linspace(0.5, 2, latent, dtype=torch.float64)
        self.offset = torch.randn(dimension, generator=generator, dtype=torch.float64)

    def forward(self, z):
        return (z @ self.matrix.T + self.offset).view(-1, *self.shape)


class Posterior(nn.Module):
    """The law of z given x, times a factor on its deviation and with a shift, which are 1 and 0 where it is exact."""

    def __init__(self, decoder, noise, factor=1.0, shift=0.0):
        super().__init__()
        self.decoder, self.noise, self.factor, self.shift = decoder, noise, factor, shift

    def forward(self, y):
        precision = 1 + self.decoder.matrix.square().sum(0) / self.noise**2
        mean = (y.flatten(1) - self.decoder.offset) @ self.decoder.matrix / self.noise**2 / precision
        variance = (self.factor**2 / precision).expand_as(mean)
        return torch.stack([mean + self.shift, variance.log()], dim=1)


def linear(shape, noise=0.6, draws=4, factor=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(0)
    latent = min(2, math.prod(shape))
    decoder = Linear(shape, latent, generator)
    fixed = torch.randn(draws, latent, generator=generator)
    law = LatentVariableLaw(decoder, Posterior(decoder, noise, factor, shift), latent, noise, spec_of(shape), fixed)
    return law.double().requires_grad_(False)


def truth(law):
    """The Gaussian that it is."""
    matrix, noise = law.decoder.matrix, float(law.log_noise.exp())
    covariance = law.std**2 * (matrix @ matrix.T + noise**2 * torch.eye(len(matrix), dtype=torch.float64))
    return torch.distributions.MultivariateNormal(law.mean + law.std * law.decoder.offset, covariance)


def points(law, n=6):
    return truth(law).sample((n,)).view(n, *law.shape)


@pytest.mark.parametrize("shape", SHAPES)
class TestLinearGaussian:
    def test_with_the_exact_posterior_the_density_is_exact_by_any_draw(self, shape):
        law = linear(shape)
        x = points(law)
        torch.testing.assert_close(law(x), -truth(law).log_prob(x.flatten(1)))
        at = x.clone().requires_grad_(True)
        (expected,) = torch.autograd.grad(-truth(law).log_prob(at.flatten(1)).sum(), at)
        torch.testing.assert_close(value_and_gradient(law, x)[1], expected)

    def test_with_another_it_is_right_on_average(self, shape):
        law = linear(shape, factor=1.3, shift=0.2)
        x = points(law, 3)
        e = torch.randn(40_000, 1, law.latent, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        weights = (law.log_weights(x, e) - truth(law).log_prob(x.flatten(1))).exp()
        assert ((weights.mean(0) - 1).abs() < 4 * weights.std(0) / len(e) ** 0.5).all()
        assert weights.std(0).min() > 0.1, "and draws differ"

    def test_the_bound_falls_short_by_the_divergence_from_the_posterior(self, shape):
        factor, shift = 1.3, 0.2
        law = linear(shape, factor=factor, shift=shift)
        x = points(law, 1)
        e = torch.randn(100_000, law.latent, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        bounds = law.bound(x.expand(len(e), *law.shape), e)
        precision = 1 + law.decoder.matrix.square().sum(0) / law.log_noise.exp() ** 2
        divergence = float((factor**2 + shift**2 * precision - 1 - 2 * math.log(factor)).sum() / 2)
        gap = float(truth(law).log_prob(x.flatten(1))[0] - bounds.mean())
        assert gap == pytest.approx(divergence, abs=5 * float(bounds.std()) / len(e) ** 0.5)

    def test_samples_are_the_law_s(self, shape):
        law, expected = linear(shape), truth(linear(shape))
        x = law.carried(torch.randn(200_000, law.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).flatten(1)
        torch.testing.assert_close(x.mean(0), expected.mean, atol=0.03, rtol=0)
        torch.testing.assert_close(x.T.cov(), expected.covariance_matrix, atol=0.1, rtol=0)


MEAN, ROOT = torch.tensor([0.7, -0.4]), torch.tensor([[1.2, 0.0], [0.9, 0.5]])


@pytest.fixture(scope="module")
def fitted():
    """To a Gaussian in the plane; the method, and σ in the end."""
    settings = {"latent": 1, "batch_size": 512, "optimiser": {"learning_rate": 5e-3, "average_decay": 0.98}, "draws": 200}
    settings |= {"decoder": {"width": 32, "depth": 1}, "encoder": {"width": 32, "depth": 1}}
    method = build("vae", spec_of((2,), "density", 0.15, 1.2), settings, 0, iterations=600)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        report = method.training_step(MEAN + torch.randn(512, 2, generator=generator) @ ROOT.T, generator)
    return method, float(report["noise"])


class TestLearning:
    def test_a_gaussian_is_learned_to_its_best_likelihood(self, fitted):
        """One latent number and round noise: the covariance is that of probabilistic principal components, which in the plane is any."""
        method, _ = fitted
        x = MEAN + torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1)) @ ROOT.T
        entropy = 1 + math.log(2 * math.pi) + float(ROOT.diagonal().log().sum())
        with torch.no_grad():
            assert float(method.energy(x).mean()) == pytest.approx(entropy, abs=0.03)
        assert log_partition(lambda x: -on_arrays(method.energy, "cpu")(x), (0.7, -0.4), 16.0)[0] == pytest.approx(0, abs=0.02)

    def test_the_noise_is_the_least_deviation(self, fitted):
        least = float(torch.linalg.eigvalsh(ROOT @ ROOT.T)[0]) ** 0.5 / 1.2
        assert fitted[1] == pytest.approx(least, rel=0.05)

    def test_samples_are_those_of_the_data(self, fitted):
        drawn = fitted[0].sample(20_000, torch.Generator().manual_seed(2))
        assert drawn.sampler == "decoder" and not drawn.sampler_steps
        torch.testing.assert_close(drawn.x.mean(0), MEAN, atol=0.07, rtol=0)
        torch.testing.assert_close(drawn.x.T.cov(), ROOT @ ROOT.T, atol=0.12, rtol=0)


@pytest.mark.parametrize("name", ["neural_transport", "neural_transport_nce"])
def test_what_tilts_it_comes_to_the_data_too(name):
    """By chains over latent vectors and noise together: the optimum is the data's law, whatever the backbone has."""
    mean, root = torch.tensor([0.7, -0.4, 0.2]), torch.tensor([[1.2, 0, 0], [0.5, 0.8, 0], [-0.3, 0.2, 1.0]])
    spec = spec_of((3,), mean=0.1, std=1.0)
    generator = torch.Generator().manual_seed(0)
    decoder = Linear((3,), 2, generator).float()
    decoder.matrix, decoder.offset = decoder.matrix.float(), torch.zeros(3)
    law = LatentVariableLaw(decoder, Posterior(decoder, 0.8), 2, 0.8, spec).requires_grad_(False)
    backbone = SimpleNamespace(law=law, noise_level=0.0)
    given = {"batch_size": 1024, "optimiser": {"learning_rate": 0.02, "average_decay": 0.99}}
    network = NetworkConfig(name=QuadraticNetwork.name)
    method = build(name, spec, given, 0, network=network, iterations=800, required={"backbone": backbone})
    for _ in range(800):
        method.training_step(mean + torch.randn(1024, 3, generator=generator) @ root.T, generator)
    # `gaussian_of` takes off nothing: E is minus the logarithm of the tilted law, whole.
    found_mean, found_covariance = gaussian_of(method.energy_function(), (3,))
    torch.testing.assert_close(found_mean.float(), mean, atol=0.07, rtol=0)
    torch.testing.assert_close(found_covariance.float(), root @ root.T, atol=0.15, rtol=0)
    drawn = method.own_samples(4_000, torch.Generator().manual_seed(2))
    assert drawn.x.shape == (4_000, 3)
    torch.testing.assert_close(drawn.x.T.cov(), root @ root.T, atol=0.3, rtol=0)
    assert np.isfinite(drawn.x.numpy()).all()


def test_a_tilt_of_other_data_is_refused():
    spec = spec_of((1, 8, 8), "images")
    backbone = build("vae", spec, {}, 0)
    with pytest.raises(ValueError, match=r"data_noise: 0\.3"):
        build("neural_transport", spec, {}, 0, required={"backbone": backbone})
    assert build("neural_transport", spec, {"data_noise": 0.3}, 0, required={"backbone": backbone}).noise_level == 0.3


def test_what_is_known_of_its_likelihood_is_said_to_rest_on_an_estimate():
    law = build("vae", spec_of((2,), "density"), {}, 0).law
    scored = Scored({"fresh": np.zeros((4, 2))}, "fresh", law, base=law)
    found = bracketed(scored, lambda: law, PartitionConfig(), "cpu")
    assert found is not None and found().base == "its own law, whose density is an estimate"


def test_the_density_is_a_number_wherever_it_is_asked_for():
    """The encoder's variances far from the data are whatever its last layer makes of large numbers."""
    law = build("vae", spec_of((2,), "density"), {"latent": 2}, 0).law
    with torch.no_grad():
        law.encoder.linear.weight.mul_(30)
        assert law(torch.tensor([[1e3, -1e3], [-1e4, 1e4], [0.0, 0.0]])).isfinite().all()
