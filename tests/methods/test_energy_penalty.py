"""The energy penalty, which every method that trains an energy shares."""

from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.spec import DataSpec

SHAPE = (1, 3, 3)
SPEC = DataSpec("made_up", "images", SHAPE, -0.3, 0.5, 17, None, None, Path())
SMALL = NetworkConfig(name="mlp", settings={"width": 16, "gain": 3.0})


def made(penalty, support="space", name="nce"):
    return build(name, SPEC, {"batch_size": 16, "energy_penalty": penalty, "support": support}, network=SMALL)


def images(seed=0, n=16):
    return 2 * torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) - 1


def beyond_base(method, x):
    return (method.live(x) - method.base(x)).detach()


@pytest.mark.parametrize("support", ["space", "box"])
def test_is_the_mean_square_of_the_energies_beyond_the_base(support):
    x, losses = images(), []
    for penalty in (0.0, 0.7):
        method = made(penalty, support)
        energies = method.live(x)
        expected = 3.0 * energies.mean().detach() + penalty * beyond_base(method, x).square().mean()
        losses.append(method.update(3.0 * energies.mean(), energies, x)["loss"])
        assert losses[-1] == pytest.approx(float(expected), rel=1e-5)
    assert losses[1] > losses[0]


def test_is_of_the_network_alone_at_every_temperature():
    """In the scale that chains see, where the base is multiplied by T."""
    kernel = {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.02}}
    method = build("pcd", SPEC, {"batch_size": 16, "chains": 32, "energy_penalty": 0.7, "kernel": kernel}, network=SMALL)
    assert method.temperature == pytest.approx(0.01)
    x = images()
    f = method.live.network((x - SPEC.mean) / SPEC.std)
    energies = method.live(x)
    expected = float(0.7 * f.detach().square().mean())
    assert method.update(0.0 * energies.mean(), energies, x)["loss"] == pytest.approx(expected, rel=1e-4)


def test_its_gradient_reaches_the_weights():
    """That of the sum, by finite differences in the direction of the update that plain gradient descent would make."""
    method, x = made(0.7), images()
    parameters = list(method.live.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    gradients = []
    method.learner.update = gradients.append
    energies = method.live(x)
    method.update(torch.zeros((), requires_grad=True) * 1.0, energies, x)
    exact = torch.autograd.grad(0.7 * (method.live(x) - method.base(x)).square().mean(), parameters)
    assert any(part.abs().sum() > 0 for part in exact)
    for found, expected in zip(gradients[0], exact, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["nce", "pcd", "dsm"])
def test_keeps_energies_close_to_the_base(name):
    """However strong the data's pull; nothing else does."""
    sizes = []
    for penalty in (0.0, 30.0):
        method, generator = made(penalty, name=name), torch.Generator().manual_seed(1)
        for _ in range(60):
            method.training_step(-0.6 + 0.1 * images(n=16), generator)
        sizes.append(float(beyond_base(method, images(3, 200)).square().mean()))
    assert sizes[1] < sizes[0] / 3


@pytest.mark.parametrize("name", ["nce", "flow_contrastive", "ncsn", "dsm", "score_matching"])
def test_an_energy_that_is_its_base_is_not_penalised(name):
    """Whatever log Z is beside it, and whatever the base is that a level of noise has."""
    losses = []
    for penalty in (0.0, 1.0):
        method = made(penalty, name=name)
        with torch.no_grad():
            for key, weights in method.live.named_parameters():
                weights.fill_(3.0 if key == "log_partition" else 0.0)
        losses.append(method.training_step(images(), torch.Generator().manual_seed(1))["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_negative_penalties_are_refused():
    with pytest.raises(ValueError, match="energy_penalty"):
        made(-1.0)
