"""The difference of an energy before and after an update: orders, invariances, and zeros to the last bit."""

import copy
from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy
from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods import build
from ebmpipe.nets.base import build_network
from ebmpipe.nets.spectral import spectrally_normalised
from ebmpipe.spec import DataSpec

SHAPES = {"plane": (2,), "vectors": (10,), "images": (1, 8, 8)}
FIELDS = ["pd_alpha", "pd_beta", "pd_gamma", "pd_galerkin", "pd_stein"]


def spec_of(kind):
    shape = SHAPES[kind]
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.3, 1.4, None, None, None, Path())


def energy_of(kind, **settings):
    spec = spec_of(kind)
    torch.manual_seed(0)
    name = "conv" if spec.kind == "images" else "mlp"
    network = build_network(NetworkConfig(name=name, settings=({"widths": [8, 8]} if name == "conv" else {"width": 16}) | settings), spec)
    return BasedEnergy(network, spec).double()


def nudged(energy, size):
    """What the update θ ← θ + ``size`` δ did to a copy of ``energy``, with δ the same standard normal numbers every time."""
    energy = copy.deepcopy(energy)
    change, generator = EnergyChange(energy), torch.Generator().manual_seed(1)
    change.remember()
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    change.settle()
    return change


def points(kind, n=6):
    return torch.randn(n, *SHAPES[kind], generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("kind", SHAPES)
def test_normalised_weights_are_each_energy_s_own(kind):
    """Copies of a network share the class that normalises its weights; what one keeps while it is frozen is not the other's."""
    energy, x = energy_of(kind), points(kind)
    spectrally_normalised(energy.network, 1.5)
    change = nudged(energy, 0.1)
    with torch.no_grad():
        expected = change.new(x) - change.old(x)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(change.value_and_slope(x)[0], expected)
    moved = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad((change.new(moved) - change.old(moved)).sum(), moved)
    torch.testing.assert_close(change.value_and_slope(x)[1], slope)


@pytest.mark.parametrize("kind", SHAPES)
class TestEnergyChange:
    def test_is_the_difference_of_the_energies(self, kind):
        energy, x = energy_of(kind), points(kind).requires_grad_(True)
        change = nudged(energy, 0.1)
        value, slope = change.value_and_slope(x)
        difference = change.new(x) - energy(x)
        torch.testing.assert_close(value, difference.detach())
        torch.testing.assert_close(slope, torch.autograd.grad(difference.sum(), x)[0])

    def test_the_first_order_differs_by_the_second(self, kind):
        """Half the step, a quarter of the error."""
        energy, x = energy_of(kind), points(kind)
        errors = []
        for size in (2e-3, 1e-3):
            change = nudged(energy, size)
            errors.append(float((change.slope_to_first_order(x) - change.value_and_slope(x)[1]).norm()))
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)

    def test_the_derivative_along_weights_is_that_of_the_values(self, kind):
        energy, x = energy_of(kind), points(kind)
        up, down = nudged(energy, 1e-4), nudged(energy, -1e-4)
        along = nudged(energy, 0.0).along(x, up.weights())
        torch.testing.assert_close(along, (up.new(x) - down.new(x)).detach() / 2, rtol=1e-6, atol=1e-9)

    def test_an_offset_changes_nothing(self, kind):
        """The gauge: E + c is the same law, and moves no particle."""
        energy, x = energy_of(kind), points(kind)
        change = EnergyChange(energy)
        with torch.no_grad():
            energy.network.head.bias.add_(3.0)
        assert torch.equal(change.value_and_slope(x)[1], torch.zeros_like(x))
        assert change.slope_to_first_order(x).abs().max() == 0

    def test_what_it_is_of_is_unchanged_by_asking(self, kind):
        change, x = nudged(energy_of(kind), 0.1), points(kind)
        before = {key: value.clone() for key, value in change.new.state_dict().items()}
        change.value_and_slope(x), change.slope_to_first_order(x), change.along(x, change.weights())
        assert all(torch.equal(value, before[key]) for key, value in change.new.state_dict().items())
        assert all(parameter.requires_grad for parameter in change.new.parameters())


def test_of_rectifiers_the_first_order_misses_what_kinks_do():
    """A slope jumps where a unit changes sides, at a share of all points that is as small as the step: the error falls no faster."""
    energy, x = energy_of("images", activation="leaky_relu"), points("images", 2000)
    sizes, missed = (2e-4, 1e-4, 5e-5), []
    for size in sizes:
        change = nudged(energy, size)
        whole, first = change.value_and_slope(x)[1], change.slope_to_first_order(x)
        missed.append(float((whole - first).flatten(1).norm(dim=1).mean() / size))
        assert missed[-1] * size > first.flatten(1).norm(dim=1).mean()
    assert max(missed) / min(missed) < 1.5  # 4 if it were the square


@pytest.mark.parametrize("spectral_norm", [None, 1.5])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", FIELDS)
def test_weights_that_stay_move_no_particle(name, kind, spectral_norm):
    """To the last bit, though spectral normalisation has followed its singular vectors a step further."""
    if kind == "images" and name == "pd_galerkin":
        pytest.skip("it takes no images")
    if name == "pd_gamma" and spectral_norm:
        pytest.skip("it has no matrices to normalise")
    spec = spec_of(kind)
    network = NetworkConfig(name="conv", settings={"widths": [8, 8]}) if kind == "images" else NetworkConfig(settings={"width": 16})
    settings = {"particles": 8, "batch_size": 8, "spectral_norm": spectral_norm, "optimiser": {"sgd_after": 0.0}}
    method, generator = build(name, spec, settings, network=network).double(), torch.Generator().manual_seed(0)
    x = points(kind, 8)
    for _ in range(3):
        method.training_step(x, generator)
    method.change.remember()
    before = [buffer.clone() for buffer in method.live.buffers()]
    method.learner.update([torch.zeros_like(parameter) for parameter in method.live.parameters()])
    method.change.settle()
    if spectral_norm:
        assert any(not torch.equal(a, b) for a, b in zip(before, method.live.buffers(), strict=True))
    assert method.displacement(method.change, x, x).abs().max() == 0
