"""Every kernel on a GPU against a CPU, with the same noise."""

import copy
from pathlib import Path

import pytest
import torch

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy, UniformLaw, frozen
from ebmpipe.nets.base import build_network
from ebmpipe.samplers import run
from ebmpipe.samplers.adaptation import adapt
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

KERNELS = [name for name, kernel in registry.load_all("samplers").items() if "density" in kernel.kinds]
SPECS = {
    "plane": (DataSpec("plane", "density", (2,), 0.0, 1.0, None, None, None, Path()), "mlp"),
    "image": (DataSpec("image", "images", (1, 6, 6), 0.0, 0.5, 16, None, None, Path()), "conv"),
}


def energies(where, gpu, box=False):
    """The same energy on both devices, and positions to start from."""
    spec, network = SPECS[where]
    torch.manual_seed(1)
    base = UniformLaw(spec.shape, Box(-1.0, 1.0)) if box else None
    energy = BasedEnergy(build_network(NetworkConfig(name=network), spec), spec, base).requires_grad_(False)
    start = energy.base.sample(40, torch.Generator().manual_seed(2))
    return (energy, start, "cpu"), (copy.deepcopy(energy).to(gpu), start.to(gpu), gpu)


@pytest.mark.parametrize("box", [False, True], ids=["space", "box"])
@pytest.mark.parametrize("where", SPECS)
@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name, where, box, precision, gpu):
    kernel = registry.load("samplers", name)(step_size=0.15)
    found = []
    for energy, start, device in energies(where, gpu, box):
        with frozen(energy):
            found.append(run(kernel, energy, start, 6, torch.Generator(device).manual_seed(3)))
    (x, summary), (x_gpu, summary_gpu) = found
    assert (x != energies(where, "cpu", box)[0][1]).any(), "some chain moved"
    precision.check(x_gpu, x, "positions", 5)
    assert summary_gpu.gradient_evaluations == summary.gradient_evaluations
    for what in ("acceptance", "gradient_norm", "clipped", "temperature"):
        assert getattr(summary_gpu, what) == pytest.approx(getattr(summary, what), rel=5 * precision.rtol, abs=5 * precision.atol), what
    if summary.swaps is not None:
        assert summary_gpu.swaps == pytest.approx(summary.swaps, rel=5 * precision.rtol, abs=5 * precision.atol)


def test_gibbs(precision, gpu):
    """On states no coin lies near enough to its probability for rounding to decide it, with this seed."""
    spec = DataSpec("states", "binary", (1, 3, 3), 0.0, 1.0, None, None, None, Path())
    torch.manual_seed(1)
    energy = BasedEnergy(build_network(NetworkConfig(name="mlp"), spec), spec).requires_grad_(False)
    start, found = energy.base.sample(40, torch.Generator().manual_seed(2)), []
    for each, device in ((energy, "cpu"), (copy.deepcopy(energy).to(gpu), gpu)):
        found.append(run(registry.load("samplers", "gibbs")(), each, start.to(device), 30, torch.Generator(device).manual_seed(3)))
    (x, summary), (x_gpu, summary_gpu) = found
    assert (x != start).any() and torch.equal(x_gpu.cpu(), x)
    assert summary_gpu.gradient_evaluations == summary.gradient_evaluations
    precision.check(summary_gpu.state.energy, summary.state.energy, "energies", 5)


@pytest.mark.parametrize("name", [name for name in KERNELS if registry.load("samplers", name)(step_size=0.15).adjusted])
def test_adaptation(name, precision, gpu):
    kernel = registry.load("samplers", name)(step_size=0.15)
    found = []
    for energy, start, device in energies("plane", gpu):
        with frozen(energy):
            found.append(adapt(kernel, energy, start, 5, torch.Generator(device).manual_seed(3)))
    (adapted, x, _), (adapted_gpu, x_gpu, _) = found
    assert adapted_gpu.step_size == pytest.approx(adapted.step_size, rel=10 * precision.rtol)
    precision.check(x_gpu, x, "positions", 100)
