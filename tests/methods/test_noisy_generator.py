"""The noisy generator: derivative, score and density, exact where g is linear and by quadrature where it is not."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe.event_map import EventMap, EventMapConfig
from ebmpipe.methods.noisy_generator import NoisyGenerator, NoisyGeneratorConfig
from ebmpipe.spec import DataSpec

#: Event shape and dimension of the latent vectors.
CASES = [((1,), 1), ((2,), 2), ((2,), 3), ((10,), 4), ((1, 3, 3), 9)]


def made(shape, latent, linear, seed=0, **settings):
    spec = DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.3, 1.4, None, None, None, Path())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = NoisyGenerator(spec, NoisyGeneratorConfig(latent=latent, width=8, **settings)).double()
    with torch.no_grad():
        for parameter in generator.map.perceptron.parameters():
            parameter.mul_(0.0 if linear else 2.0)
    return generator


def law(generator):
    """That of a linear generator, of flattened events."""
    weight = generator.std * generator.map.linear.weight.detach()
    covariance = weight @ weight.T + generator.noise**2 * torch.eye(len(weight), dtype=torch.float64)
    return torch.distributions.MultivariateNormal(torch.full((len(weight),), generator.mean, dtype=torch.float64), covariance)


def flat(x):
    return x.detach().flatten(1)


@pytest.mark.parametrize(("shape", "latent"), CASES)
def test_jacobian_is_that_of_autograd(shape, latent):
    torch.manual_seed(0)
    network = EventMap(latent, shape, EventMapConfig(width=7, depth=3)).double()
    z = torch.randn(4, latent, dtype=torch.float64)
    expected = torch.stack([torch.autograd.functional.jacobian(lambda y: network(y[None])[0].flatten(), each) for each in z])
    torch.testing.assert_close(network.jacobian(z), expected)


@pytest.mark.parametrize(("shape", "latent"), CASES)
def test_score_and_density_are_exact_of_a_linear_generator(shape, latent):
    """From two draws already, or from many."""
    generator, stream = made(shape, latent, linear=True, proposals=1), torch.Generator().manual_seed(1)
    x, z = generator.sample(50, stream)
    score, log_density = generator.score(x.detach(), z, stream)
    torch.testing.assert_close(log_density, law(generator).log_prob(flat(x)))
    torch.testing.assert_close(flat(score), (law(generator).mean - flat(x)) @ law(generator).covariance_matrix.inverse())


@pytest.mark.parametrize(("shape", "latent"), CASES)
def test_samples_have_the_mean_and_covariance_of_the_law(shape, latent):
    generator = made(shape, latent, linear=True)
    x = flat(generator.sample(100_000, torch.Generator().manual_seed(1))[0])
    scale = float(law(generator).covariance_matrix.diagonal().max())
    torch.testing.assert_close(torch.cov(x.T).view(x.shape[1], -1), law(generator).covariance_matrix, atol=0.03 * scale, rtol=0)
    torch.testing.assert_close(x.mean(0), law(generator).mean, atol=0.02 * math.sqrt(scale), rtol=0)


def by_quadrature(generator, x):
    """Score (n, 2) and log-density (n,) of a generator with one latent number, from all z on a grid."""
    grid = torch.linspace(-6, 6, 2001, dtype=torch.float64)[:, None]
    residual = generator(grid).detach()[:, None] - x
    squares = residual.square().sum(2)
    log_joint = -squares / (2 * generator.noise**2) - grid.square() / 2 - 1.5 * math.log(2 * math.pi) - 2 * math.log(generator.noise)
    score = (log_joint.softmax(0)[:, :, None] * residual).sum(0) / generator.noise**2
    return score, log_joint.logsumexp(0) + math.log(float(grid[1] - grid[0]))


@pytest.mark.parametrize(("draws", "tolerance"), [(8, 0.1), (64, 0.06)])
def test_score_and_density_of_a_bent_generator_agree_with_quadrature(draws, tolerance):
    generator, stream = made((2,), 1, False, seed=3, noise=0.3, proposals=draws), torch.Generator().manual_seed(1)
    x, z = generator.sample(2000, stream)
    score, log_density = generator.score(x.detach(), z, stream)
    true_score, true_density = by_quadrature(generator, x.detach())
    assert float((log_density - true_density).mean().abs()) < tolerance
    assert float((score - true_score).square().mean() / true_score.square().mean()) < tolerance
    # The bare draw knows nothing of the score but its mean.
    bare = (generator(z).detach() - x.detach()) / generator.noise**2
    assert float((bare - true_score).square().mean() / true_score.square().mean()) > 0.3


def test_the_gradient_of_the_entropy_of_a_bent_generator():
    """-E ∇log q · ∂x in the weights of g, with the score estimated and by quadrature. The bare draw has none but by chance."""
    generator, stream = made((2,), 1, False, seed=3, noise=0.3, proposals=16), torch.Generator().manual_seed(1)
    x, z = generator.sample(8000, stream)

    def gradient(score):
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(-(score * x).sum(1).mean(), list(generator.parameters()), retain_graph=True)]
        )

    exact = gradient(by_quadrature(generator, x.detach())[0])
    assert float((gradient(generator.score(x.detach(), z, stream)[0]) - exact).norm() / exact.norm()) < 0.2
    bare = (generator(z).detach() - x.detach()) / generator.noise**2
    assert float((gradient(bare) - exact).norm() / exact.norm()) > 0.7
