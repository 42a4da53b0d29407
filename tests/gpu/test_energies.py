"""Every energy network and every law on a GPU against a CPU: values, slopes, Laplacians, gradients in the weights, samples."""

import copy
from pathlib import Path

import pytest
import torch

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.derivatives import slope, slope_and_laplacian
from ebmpipe.energies import BasedEnergy, GaussianLaw, Law, UniformLaw, UniformStates
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.flows.standard import quick_flow, standard_flow
from ebmpipe.learned_base import LearnedGaussian
from ebmpipe.methods.noise_flow import CoveredLaw
from ebmpipe.nets.base import HeadedNetwork, build_network
from ebmpipe.nets.spectral import spectrally_normalised
from ebmpipe.noise_levels import NoisyEnergies, with_level
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

SPECS = {
    "density": DataSpec("plane", "density", (2,), 0.3, 1.4, None, None, None, Path()),
    "vectors": DataSpec("vectors", "vectors", (12,), 0.1, 0.8, None, None, None, Path()),
    "binary": DataSpec("states", "binary", (1, 3, 3), 0.1, 0.9, None, 3, None, Path()),
    "images": DataSpec("images", "images", (2, 8, 8), -0.2, 0.6, 16, 3, None, Path()),
}
NETWORKS = [(name, kind) for name, network in registry.load_all("nets").items() for kind in sorted(network.kinds)]
WAYS = ["plain", "classes", "spectral", "levels"]


def made(name, spec, way):
    torch.manual_seed(1)
    if way == "levels":
        return NoisyEnergies(build_network(NetworkConfig(name=name), with_level(spec)), spec)
    network = build_network(NetworkConfig(name=name), spec, 3 if way == "classes" else None)
    return BasedEnergy(spectrally_normalised(network, 1.0) if way == "spectral" else network, spec)


def points(spec, dtype, n=5):
    return spec.mean + spec.std * torch.randn(n, *spec.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)


def found(energy, x, way):
    """All that is asked of an energy, by name."""
    level = (torch.linspace(0.2, 1.0, len(x), device=x.device, dtype=x.dtype),) if way == "levels" else ()
    value = energy(x, *level)
    results = {"value": value.detach(), "grad": energy.grad(x, *level)}
    results["value of both"], results["grad of both"] = energy.value_and_grad(x, *level)
    if way == "classes":
        results["logits"] = energy.with_logits(x)[1].detach()
    of_score = slope(lambda y: energy(y, *level), x).square().sum()
    losses = {"value": value.square().mean(), "score": of_score}
    if not level:
        at, first, laplacian = slope_and_laplacian(energy, x)
        results |= {"value beside": at.detach(), "slope": first.detach(), "laplacian": laplacian.detach()}
        losses["laplacian"] = laplacian.sum()
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(energy.parameters()), materialize_grads=True)
        results |= {f"weights' gradient of {name}, {index}": each for index, each in enumerate(gradients)}
    return results


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "kind"), NETWORKS)
def test_network(name, kind, way, precision, gpu):
    if way == "classes" and not issubclass(registry.load("nets", name), HeadedNetwork):
        pytest.skip(f"{name} has no classes")
    if name == "boltzmann" and way == "spectral":
        pytest.skip("its weights are no matrix of a layer")
    if kind == "binary" and way == "levels":
        pytest.skip("states are at no level of noise")
    spec = SPECS[kind]
    energy = made(name, spec, way)
    x, other = points(spec, precision.dtype), copy.deepcopy(energy).to(gpu)
    on_cpu, on_gpu = found(energy, x, way), found(other, x.to(gpu), way)
    for what, value in on_cpu.items():
        # Sums of many terms are compared with their own size.
        size = max(1.0, float(value.abs().max()))
        precision.check(on_gpu[what] / size, value / size, what)


def covered(spec):
    torch.manual_seed(1)
    return CoveredLaw(FlowLaw(build_flow(quick_flow(spec.dimension, 2, 16), spec), spec), GaussianLaw.of(spec), 0.3)


def flow(spec):
    torch.manual_seed(1)
    return FlowLaw(build_flow(standard_flow(spec.dimension), spec), spec)


def learned(spec):
    """With a mean and a width of its own in every coordinate."""
    torch.manual_seed(1)
    law = LearnedGaussian.of(spec)
    for parameter in law.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return law


LAWS = {
    GaussianLaw: GaussianLaw.of,
    LearnedGaussian: learned,
    UniformLaw: lambda spec: UniformLaw(spec.shape, Box(-1.0, 1.0)),
    UniformStates: lambda spec: UniformStates(spec.shape),
    FlowLaw: flow,
    CoveredLaw: covered,
}


def test_every_law_is_tested():
    assert set(Law.__subclasses__()) == set(LAWS)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, kind, precision, gpu):
    spec = SPECS[kind]
    on_cpu = LAWS[law](spec)
    on_gpu, x = copy.deepcopy(on_cpu).to(gpu), points(spec, precision.dtype, 16)
    dimension = spec.dimension
    with torch.no_grad():
        precision.check(on_gpu(x.to(gpu)), on_cpu(x), "value", dimension)
    precision.check(on_gpu.grad(x.to(gpu)), on_cpu.grad(x), "grad", dimension)
    value, slope_ = on_cpu.value_and_grad(x)
    other, other_slope = on_gpu.value_and_grad(x.to(gpu))
    precision.check(other.detach(), value.detach(), "value of both", dimension)
    precision.check(other_slope, slope_, "grad of both", dimension)
    drawn = [each.sample(20, torch.Generator(device).manual_seed(3)) for each, device in ((on_gpu, gpu), (on_cpu, "cpu"))]
    precision.check(*drawn, "samples", dimension)
    if law in (GaussianLaw, LearnedGaussian, UniformLaw, UniformStates):
        for there, here in zip(on_gpu.slope_and_laplacian(x.to(gpu)), on_cpu.slope_and_laplacian(x), strict=True):
            precision.check(there.detach(), here.detach(), "slope and Laplacian", dimension)
