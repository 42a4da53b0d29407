"""Adversarial training: the bound on Gaussians, and what one side learns while the other stands still."""

import math
from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork, gaussian_of

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BASE_WIDTH
from ebmpipe.methods import build
from ebmpipe.methods.adversarial import variational_bound
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
N, PRECISION, VARIANCE, DATA_VARIANCE = 200_000, 0.8, 0.6, 1.1


def method_on(shape, iterations=1, **settings):
    spec = DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.0, 1.0, None, None, None, Path())
    settings = {"batch_size": 512, "data_noise": 0.0} | settings
    return build("adversarial", spec, settings, 0, network=NetworkConfig(name=QuadraticNetwork.name), iterations=iterations)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bound_exceeds_the_log_likelihood_by_the_divergence_of_a_gaussian_generator(shape):
    """E_q E - E_data E - H(q) - E_data log p = KL(q ‖ p), for E with any constant in it."""
    generator, dimension = torch.Generator().manual_seed(0), math.prod(shape)

    def energy(x):
        return PRECISION * x.flatten(1).square().sum(1) / 2 + 7.0

    data, generated = torch.randn(2, N, *shape, generator=generator, dtype=torch.float64)
    data, generated = DATA_VARIANCE**0.5 * data, VARIANCE**0.5 * generated
    log_density = -generated.flatten(1).square().sum(1) / (2 * VARIANCE) - dimension / 2 * math.log(2 * math.pi * VARIANCE)
    bound = float(variational_bound(energy(data), energy(generated), log_density))
    likelihood = float(-energy(data).mean()) + 7.0 - dimension / 2 * math.log(2 * math.pi / PRECISION)
    divergence = dimension / 2 * (PRECISION * VARIANCE - 1 - math.log(PRECISION * VARIANCE))
    error = float((energy(generated) + log_density).std()) / math.sqrt(N)
    assert bound - likelihood == pytest.approx(divergence, abs=5 * error)
    assert divergence > 20 * error


@pytest.mark.parametrize("shape", SHAPES)
def test_the_generator_learns_the_law_of_an_energy_that_stands_still(shape):
    """That is the base at first, N(0, BASE_WIDTH²)."""
    learns = {"width": 4, "depth": 1, "gain": 1.0, "learning_rate": 0.02, "noise": 0.3, "proposals": 2}
    method = method_on(shape, 500, generator=learns, optimiser={"learning_rate": 1e-9})
    generator = torch.Generator().manual_seed(0)
    network = method.generator.network
    with torch.no_grad():  # where it starts it has nothing to learn
        network.map.linear.weight.mul_(0.5)
        network.map.perceptron[-1].bias.add_(0.5)

    def errors():
        x = network.sample(20_000, generator)[0].detach().flatten(1)
        covariance = torch.cov(x.T).view(x.shape[1], -1) / BASE_WIDTH**2
        return float((covariance - torch.eye(x.shape[1])).abs().max()), float(x.mean(0).abs().max())

    assert min(errors()) > 0.4
    for _ in range(500):
        method.training_step(torch.randn(512, *shape, generator=generator), generator)
    of_covariance, of_mean = errors()
    assert of_covariance < 0.12
    assert of_mean < 0.2


@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "jensen_shannon", "squared_hellinger"])
def test_with_every_divergence_the_energy_comes_to_the_data(divergence):
    """In two dimensions, generator and critic learning along."""
    learns = {"width": 8, "depth": 1, "gain": 1.0, "learning_rate": 0.02}
    proposals = {"noise": 0.2, "proposals": 2}
    method = method_on(
        (2,),
        1500,
        divergence=divergence,
        generator=learns | proposals,
        critic=learns,
        optimiser={"learning_rate": 0.02, "average_decay": 0.99},
    )
    generator, root = torch.Generator().manual_seed(0), torch.tensor([[1.0, 0.0], [0.5, 0.7]])
    for _ in range(1500):
        method.training_step(torch.tensor([0.4, -0.2]) + torch.randn(512, 2, generator=generator) @ root.T, generator)
    mean, covariance = gaussian_of(method.energy_function(), (2,))
    torch.testing.assert_close(covariance.float(), root @ root.T, atol=0.12, rtol=0)
    torch.testing.assert_close(mean.float(), torch.tensor([0.4, -0.2]), atol=0.1, rtol=0)


@pytest.mark.parametrize("name", ["adversarial", "kernel_stein"])
def test_batches_of_one_are_refused(name):
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        build(name, DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, None, None, Path()), {"batch_size": 1})


def test_a_critic_is_there_only_where_it_is_asked():
    assert method_on((2,)).critic is None
    report = method_on((2,), divergence="jensen_shannon").training_step(torch.randn(512, 2), torch.Generator().manual_seed(0))
    assert "divergence" in report
