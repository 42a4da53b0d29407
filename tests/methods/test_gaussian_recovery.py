"""Every method finds mean and covariance of a Gaussian in ten dimensions to 5 %, by its own updates of a network that can express it."""

from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork, SmoothedQuadraticNetwork, gaussian_of

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.spec import DataSpec

DIMENSION = 10
TOLERANCE = 0.05
#: Of updates that cost a flow's time there are fewer, with longer steps; telling data from noise takes more of them in ten dimensions.
QUICK, QUICKER = {"learning_rate": 0.05, "average_decay": 0.99}, {"learning_rate": 0.1, "average_decay": 0.98}
PATIENT = {"learning_rate": 0.05, "average_decay": 0.995}
SMALL_FLOW = {"transforms": 1, "width": 8, "learning_rate": 0.01}
SMALL_GENERATOR = {"width": 8, "depth": 1, "gain": 1.0, "betas": [0.5, 0.9], "learning_rate": 0.02, "proposals": 2}
#: Method, and after a space what is special about it -> settings other than `COMMON`.
METHODS = {
    "dsm": {"sigma": 0.3},
    "dsm controlled": {"sigma": 0.05, "control_variate": True},
    "score_matching": {},
    "sliced_score_matching": {},
    "sliced_score_matching plain": {"estimator": "plain", "projections": 4},
    "sliced_score_matching finite_difference": {"estimator": "finite_difference", "projections": 4},
    "ncsn": {"sigma": 0.3, "widest": 2.0, "levels": 5},
    "diffusion_recovery": {"sigma": 0.3, "levels": 2, "steps": 20, "optimiser": QUICK, "updates": 500},
    "nce": {"ratio": 4, "optimiser": QUICK, "updates": 1600},
    "nce flow": {"noise": "flow", "ratio": 2, "batch_size": 512, "flow": SMALL_FLOW | {"fit": 0.4}, "optimiser": QUICKER, "updates": 400},
    "conditional_nce": {"batch_size": 4096},
    "minimum_probability_flow": {"batch_size": 4096, "updates": 1600},
    "energy_discrepancy": {"updates": 1600},
    "kernel_stein": {"scale": 0.3, "batch_size": 512, "optimiser": {"learning_rate": 0.1, "average_decay": 0.99}, "updates": 3200},
    "learned_stein": {"critic": {"width": 8, "depth": 1, "learning_rate": 0.05}, "optimiser": QUICK, "updates": 1600},
    "adversarial": {"generator": SMALL_GENERATOR, "updates": 1600},
    "energy_matching": {"batch_size": 512, "optimiser": QUICK},
    **{name: {"particles": 1024, "steps": 3, "optimiser": PATIENT} for name in ("pd_alpha", "pd_beta", "pd_stein")},
    "pd_galerkin": {"particles": 1024, "steps": 3, "features": "quadratic", "optimiser": PATIENT},
    "flow_contrastive": {"flow": SMALL_FLOW | {"fit": 0.6}, "optimiser": QUICKER, "updates": 400},
}
#: The network where it is not `QuadraticNetwork`.
NETWORKS = dict.fromkeys(("ncsn", "diffusion_recovery"), SmoothedQuadraticNetwork)
#: The schedule lets the weights settle; the average over the last updates takes off what noise is left.
COMMON = {"batch_size": 1024, "optimiser": {"learning_rate": 0.02, "average_decay": 0.99}, "updates": 800}


def truth():
    """Mean (D,) and covariance (D, D): correlated, standard deviations along its axes from 0.5 to 1.2."""
    generator = torch.Generator().manual_seed(7)
    axes = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64))[0]
    mean = 0.5 + 0.5 * torch.randn(DIMENSION, generator=generator, dtype=torch.float64)
    return mean, axes @ torch.linspace(0.5, 1.2, DIMENSION, dtype=torch.float64).square().diag() @ axes.T


def errors(found, expected):
    """The largest relative error of the variance along any direction, and of the mean, in standard deviations, along any."""
    (mean, covariance), (true_mean, true_covariance) = found, expected
    whitening = torch.linalg.inv(torch.linalg.cholesky(true_covariance))
    relative = whitening @ covariance @ whitening.T - torch.eye(len(mean), dtype=torch.float64)
    return float(torch.linalg.matrix_norm(relative, 2)), float((whitening @ (mean - true_mean)).norm())


def trained(name, settings):
    """The method, trained on fresh examples of the Gaussian."""
    mean, covariance = truth()
    std = float((covariance.diag().mean() + mean.var(correction=0)).sqrt())
    spec = DataSpec("gaussian", "vectors", (DIMENSION,), float(mean.mean()), std, None, None, None, Path())
    network = NetworkConfig(name=NETWORKS.get(name, QuadraticNetwork).name)
    settings = COMMON | settings
    updates = settings.pop("updates")
    method = build(name.split()[0], spec, settings, 0, network=network, iterations=updates)
    generator, root = torch.Generator().manual_seed(1), torch.linalg.cholesky(covariance)
    for _ in range(updates):
        batch = mean + torch.randn(method.config.batch_size, DIMENSION, generator=generator, dtype=torch.float64) @ root.T
        method.training_step(batch.float(), generator)
    return method


@pytest.mark.parametrize("name", METHODS)
def test_recovers_mean_and_covariance(name):
    """Those of the data, smoothed where the method says that it models smoothed data."""
    method = trained(name, METHODS[name])
    mean, covariance = truth()
    smoothed = covariance + method.noise_level**2 * torch.eye(DIMENSION, dtype=torch.float64)
    of_covariance, of_mean = errors(gaussian_of(method.energy_function(), (DIMENSION,)), (mean, smoothed))
    assert of_covariance < TOLERANCE
    assert of_mean < TOLERANCE


def test_tells_other_gaussians_from_it():
    mean, covariance = truth()
    assert errors((mean, covariance), (mean, covariance)) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert errors((mean + 0.1 * covariance.diag().sqrt(), covariance), (mean, covariance))[1] > TOLERANCE
    assert errors((mean, covariance.diag().diag()), (mean, covariance))[0] > TOLERANCE
    # The smoothed covariance is told from that of the data at the noise that `dsm` adds here.
    assert errors((mean, covariance + 0.3**2 * torch.eye(DIMENSION)), (mean, covariance))[0] > TOLERANCE
