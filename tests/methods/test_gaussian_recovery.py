"""Every method of this family, trained by its own updates on a Gaussian in ten dimensions, finds its mean and covariance."""

from pathlib import Path

import pytest
import torch
from quadratic_network import gaussian_of

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.spec import DataSpec

DIMENSION, UPDATES, BATCH = 10, 600, 512
QUADRATIC = NetworkConfig(name="quadratic_network:Quadratic")
#: Name of the case -> method and the settings that the defaults lack for this.
CASES = {
    "score_matching": ("score_matching", {}),
    "sliced_score_matching": ("sliced_score_matching", {}),
    "sliced_score_matching, plain": ("sliced_score_matching", {"estimator": "plain", "projections": 4}),
    "sliced_score_matching, finite differences": ("sliced_score_matching", {"estimator": "finite_difference", "projections": 4}),
    "dsm": ("dsm", {"sigma": 0.3}),
    "dsm, small noise": ("dsm", {"sigma": 0.01, "control_variate": True}),
}


def gaussian():
    """Mean, covariance with eigenvalues from 0.4 to 2 in random directions, and its Cholesky factor."""
    generator = torch.Generator().manual_seed(7)
    directions, _ = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64))
    covariance = directions @ torch.diag(torch.linspace(0.4, 2.0, DIMENSION, dtype=torch.float64)) @ directions.T
    return torch.randn(DIMENSION, generator=generator, dtype=torch.float64), covariance, torch.linalg.cholesky(covariance)


@pytest.mark.parametrize("case", CASES)
def test_mean_and_covariance_of_a_gaussian_to_five_per_cent(case):
    name, settings = CASES[case]
    mean, covariance, factor = gaussian()
    scale = float((covariance.trace() + (mean - mean.mean()).square().sum()) / DIMENSION) ** 0.5
    spec = DataSpec("gaussian", "vectors", (DIMENSION,), float(mean.mean()), scale, None, None, None, Path())
    optimiser = {"learning_rate": 0.05, "betas": [0.9, 0.99], "average_decay": 0.95}
    method = build(name, spec, {"batch_size": BATCH, "optimiser": optimiser} | settings, network=QUADRATIC, iterations=UPDATES)
    generator = torch.Generator().manual_seed(1)
    for _ in range(UPDATES):
        z = torch.randn(BATCH, DIMENSION, generator=generator, dtype=torch.float64)
        batch = (mean + z @ factor.T).float()
        method.training_step(method.smoothed(batch, method.config.data_noise, generator), generator)
    found_mean, found = gaussian_of(method.energy, DIMENSION)
    expected = covariance + method.noise_level**2 * torch.eye(DIMENSION, dtype=torch.float64)
    assert float((found_mean - mean).norm() / mean.norm()) < 0.05
    assert float((found - expected).norm() / expected.norm()) < 0.05
