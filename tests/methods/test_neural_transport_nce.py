"""NT-EBM by NCE: the optimum is the data's law, normalised, and its chains in latent space follow it."""

import math
from pathlib import Path

import pytest
import torch
from backbones import gaussian_backbone
from quadratic_network import QuadraticNetwork, gaussian_of

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.spec import DataSpec


def quadratic(spec, backbone, ratio=1, iterations=800):
    given = {"batch_size": 1024, "ratio": ratio, "optimiser": {"learning_rate": 0.02, "average_decay": 0.99}}
    network = NetworkConfig(name=QuadraticNetwork.name)
    return build("neural_transport_nce", spec, given, 0, network=network, iterations=iterations, required={"backbone": backbone})


class TestLearning:
    mean, root = torch.tensor([0.7, -0.4, 0.2]), torch.tensor([[1.2, 0, 0], [0.5, 0.8, 0], [-0.3, 0.2, 1.0]])
    spec = DataSpec("gaussian", "vectors", (3,), 0.1, 1.2, None, None, None, Path())

    def data(self, n, generator):
        return self.mean + torch.randn(n, 3, generator=generator) @ self.root.T

    @pytest.mark.parametrize("ratio", [1, 3])
    def test_a_quadratic_tilt_of_a_gaussian_comes_to_the_data_normalised(self, ratio):
        method, generator = quadratic(self.spec, gaussian_backbone(self.spec), ratio), torch.Generator().manual_seed(1)
        for _ in range(800):
            report = method.training_step(self.data(1024, generator), generator)
        covariance = self.root @ self.root.T
        found_mean, found_covariance = gaussian_of(method.energy_function(), (3,))
        torch.testing.assert_close(found_mean.float(), self.mean, atol=0.06, rtol=0)
        torch.testing.assert_close(found_covariance.float(), covariance, atol=0.12, rtol=0)
        # E is minus the log-density itself, at the mean minus that of a Gaussian's normaliser.
        expected = 1.5 * math.log(2 * math.pi) + float(torch.linalg.slogdet(covariance)[1]) / 2
        assert float(method.energy(self.mean[None])) == pytest.approx(expected, abs=0.05)
        assert 0.5 < float(report["accuracy"]) < 0.8
        drawn = method.own_samples(4_000, torch.Generator().manual_seed(2))
        torch.testing.assert_close(drawn.x.mean(0), self.mean, atol=0.15, rtol=0)
        torch.testing.assert_close(drawn.x.T.cov(), covariance, atol=0.25, rtol=0)
        assert drawn.acceptance == pytest.approx(0.65, abs=0.2), "the step size is found before"

    def test_where_the_flow_is_the_data_nothing_can_be_told(self):
        spec = DataSpec("gaussian", "vectors", (3,), 0.0, 1.0, None, None, None, Path())
        method, generator = quadratic(spec, gaussian_backbone(spec)), torch.Generator().manual_seed(1)
        reports = [method.training_step(torch.randn(1024, 3, generator=generator), generator) for _ in range(100)]
        assert float(reports[0]["loss"]) == pytest.approx(2 * math.log(2))
        assert float(reports[-1]["loss"]) == pytest.approx(2 * math.log(2), abs=0.02)
        assert abs(float(reports[-1]["log_partition"])) < 0.1
