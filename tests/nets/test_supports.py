"""Where energies are defined: the uniform law, boxes and what reaches them, and temperature."""

import copy
import math
from pathlib import Path

import pytest
import torch

from ebmpipe import registry, samplers
from ebmpipe.config import NetworkConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import (
    IMAGE_BOX,
    BasedEnergy,
    GaussianLaw,
    Tempered,
    UniformLaw,
    Watched,
    base_law,
    gradient,
    support_of,
    tempered,
    value_and_gradient,
)
from ebmpipe.methods import build
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

SPEC = DataSpec("made_up", "images", (1, 3, 3), -0.4, 0.7, 17, None, None, Path())
SMALL = NetworkConfig(name="mlp", settings={"width": 16})
BOX = Box(-0.5, 1.5)


def points_in_and_out():
    inside = 2 * torch.rand(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    outside = inside.clone()
    outside[:, 0, 1, 1] = torch.tensor([1.001, -1.5, 7.0, -2.0], dtype=torch.float64)
    return inside, outside


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 3, 3)])
def test_uniform_law(shape):
    law, n = UniformLaw(shape, BOX), 20_000
    x = law.sample(n, torch.Generator().manual_seed(0))
    assert x.shape == (n, *shape) and x.dtype == torch.float32
    assert law.support == BOX and BOX.contains(x).all()
    size = x.numel()
    assert (law.mean, law.std) == pytest.approx((0.5, 2 / math.sqrt(12)))
    assert abs(float(x.mean()) - law.mean) < 5 * law.std / math.sqrt(size)
    assert abs(float(x.var()) - law.std**2) < 5 * law.std**2 * math.sqrt(0.8 / size)  # the kurtosis is 1.8
    # -log of a density that integrates to one: its mean over the box is the log of the volume.
    value, slope = law.value_and_grad(x.double())
    torch.testing.assert_close(value, torch.full((n,), math.prod(shape) * math.log(2), dtype=torch.float64))
    assert not slope.any()


@pytest.mark.parametrize("corner", [-1.0, 1.0])
def test_walls_belong_to_the_box(corner):
    x = torch.full((1, 1, 3, 3), corner)
    assert base_law(SPEC, "box")(x).isfinite().all()
    assert base_law(SPEC, "box")(x.nextafter(2 * x)).isinf().all()


def energy_on(support):
    torch.manual_seed(0)
    network = registry.load("nets", "mlp")
    return BasedEnergy(network(SPEC.shape, network.Config()), SPEC, base_law(SPEC, support)).double()


def test_a_box_adds_its_volume_inside_and_infinity_outside_without_spoiling_gradients():
    energy = energy_on("box")
    inside, outside = points_in_and_out()
    standardised = (inside - SPEC.mean) / SPEC.std
    torch.testing.assert_close(energy(inside), energy.network(standardised) + 9 * math.log(2))
    assert (energy(outside) == torch.inf).all()
    for x in (inside, outside, torch.cat([inside, outside])):
        variable = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(energy(variable).sum(), variable)
        assert slope.isfinite().all() and slope.abs().sum() > 0
        torch.testing.assert_close(gradient(energy, x), slope)
        value, by_hand = value_and_gradient(energy, x)
        torch.testing.assert_close(value, energy(x).detach())
        torch.testing.assert_close(by_hand, slope)
    weights = torch.autograd.grad(energy(torch.cat([inside, outside]))[:4].sum(), list(energy.network.parameters()))
    assert all(part.isfinite().all() for part in weights)


def test_every_wrapper_passes_the_support_on():
    nce = registry.load("methods", "nce")
    for support, expected in (("space", None), ("box", IMAGE_BOX)):
        energy = energy_on(support)
        for wrapped in (energy, copy.deepcopy(energy), Watched(energy), Tempered(energy, 0.5), tempered(Watched(energy), 1.0)):
            assert support_of(wrapped) == expected
        method = build("nce", SPEC, {"support": support}, network=SMALL)
        assert isinstance(method, nce)
        assert support_of(method.live) == support_of(method.energy_function()) == support_of(method.base) == expected
    assert support_of(lambda x: x) is None


@pytest.mark.parametrize("kind", ["density", "vectors"])
def test_only_images_have_a_box(kind):
    spec = DataSpec("made_up", kind, (2,), 0.0, 1.0, None, None, None, Path())
    with pytest.raises(ValueError, match="support: space"):
        build("nce", spec, {"support": "box"}, network=SMALL)
    assert isinstance(build("nce", spec, network=SMALL).base, GaussianLaw)


def test_methods_that_smooth_data_over_the_whole_space_refuse_a_box():
    with pytest.raises(ValueError, match="'dsm' cannot train an energy on a box: set `support: space`"):
        build("dsm", SPEC, {"support": "box"}, network=SMALL)


@pytest.mark.parametrize("name", sorted(n for n in registry.names("methods") if "box" in registry.load("methods", n).supports))
def test_all_that_a_method_makes_on_a_box_stays_there(name, prepared):
    """Two updates from noisy data, persistent chains, fresh samples and the denoising jump."""
    data = Prepared(prepared["digits"])
    settings = {"batch_size": 16, "support": "box", "data_noise": 0.3}
    if "chains" in registry.load("methods", name).Config.model_fields:
        settings["chains"] = 32
    method = build(name, data.spec, settings, network=SMALL, iterations=10)
    generator = torch.Generator().manual_seed(0)
    for step in range(2 if method.trains else 0):
        x = torch.from_numpy(data.split("train")[16 * step : 16 * step + 16]).float()
        batch = method.smoothed(2 * (x + 0.5) / data.spec.levels - 1, 0.3, generator)
        assert IMAGE_BOX.contains(batch).all()
        report = method.training_step(batch, generator)
        assert math.isfinite(report["loss"])
    method.sampling = SamplingConfig(n=20, steps=5, denoise=True)
    drawn = method.sample(20, generator)
    found = [drawn.x, *([] if drawn.before is None else [drawn.before]), *([] if method.chains() is None else [method.chains().x])]
    assert all(IMAGE_BOX.contains(x).all() for x in found)


def test_data_noise_is_what_it_was_in_space_and_reflected_in_a_box():
    x = torch.rand(50, 1, 3, 3) * 2 - 1
    space, box = (build("nce", SPEC, {"support": support}, network=SMALL) for support in ("space", "box"))
    plain = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    noisy = space.smoothed(x, 0.3, torch.Generator().manual_seed(3))
    assert torch.equal(noisy, x.add(torch.randn(x.shape, generator=torch.Generator().manual_seed(3)), alpha=0.3))
    torch.testing.assert_close(noisy, plain)
    assert torch.equal(box.smoothed(x, 0.3, torch.Generator().manual_seed(3)), IMAGE_BOX.fold(noisy))
    assert not torch.equal(IMAGE_BOX.fold(noisy), noisy)
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    assert space.smoothed(x, 0.0, generator) is x and torch.equal(generator.get_state(), state)


def test_long_chains_on_a_box_follow_the_law_restricted_to_it():
    """E = k x²/2 on [-1, 1]: a truncated Gaussian."""
    stiffness = 1.7

    class Quadratic(torch.nn.Module):
        def forward(self, x):
            return stiffness * (x * SPEC.std + SPEC.mean).flatten(1).square().sum(1) / 2

    energy = BasedEnergy(Quadratic(), SPEC, base_law(SPEC, "box"))
    kernel = registry.load("samplers", "mala")(step_size=0.6)
    start = energy.base.sample(2000, torch.Generator().manual_seed(0))
    x, _ = samplers.run(kernel, energy, start, 40, torch.Generator().manual_seed(1))
    scaled = math.sqrt(stiffness)
    density, mass = math.exp(-stiffness / 2) / math.sqrt(2 * math.pi), math.erf(scaled / math.sqrt(2))
    expected = (1 - 2 * scaled * density / mass) / stiffness
    assert IMAGE_BOX.contains(x).all()
    assert abs(float(x.square().mean()) - expected) < 5 * float(x.square().std()) / math.sqrt(x.numel())


@pytest.mark.parametrize("temperature", [0.01, 2.5])
@pytest.mark.parametrize("support", ["space", "box"])
def test_tempered(temperature, support):
    energy = energy_on(support)
    divided = tempered(energy, temperature)
    for x in points_in_and_out():
        value, slope = value_and_gradient(energy, x)
        torch.testing.assert_close(divided(x), value / temperature)
        torch.testing.assert_close(gradient(divided, x), slope / temperature)
        both = value_and_gradient(divided, x)
        torch.testing.assert_close(both[0], value / temperature)
        torch.testing.assert_close(both[1], slope / temperature)


@pytest.mark.parametrize("support", ["space", "box"])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 3.0])
def test_a_network_tilts_the_base_at_every_temperature(support, temperature):
    """Divided by the temperature that it is made for, the energy is f/T - log q: where f = 0, cold chains follow the base too."""
    x, _ = points_in_and_out()
    network, base = energy_on(support).network, base_law(SPEC, support)
    divided = tempered(BasedEnergy(network, SPEC, base, temperature), temperature)
    torch.testing.assert_close(divided(x), network((x - SPEC.mean) / SPEC.std) / temperature + base(x))
    variable = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(divided(variable).sum(), variable)
    torch.testing.assert_close(gradient(divided, x), slope)
    torch.testing.assert_close(value_and_gradient(divided, x), (divided(x).detach(), slope))


def test_temperature_one_changes_nothing():
    energy = energy_on("space")
    assert tempered(energy, 1.0) is energy


COLD = {"batch_size": 16, "chains": 32, "kernel": {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.05}}}


def test_a_methods_energy_is_that_of_the_law_its_chains_follow(prepared):
    data = Prepared(prepared["digits"])
    method = build("pcd", data.spec, COLD | {"data_noise": 0.3}, network=SMALL)
    assert method.temperature == pytest.approx(1 / 16)
    x = torch.randn(5, *data.spec.shape)
    raw, slope = value_and_gradient(method.learner.average, x)
    with torch.no_grad():
        torch.testing.assert_close(method.energy(x), 16 * raw)
    torch.testing.assert_close(gradient(method.energy_function(), x), 16 * slope)
    assert method.live is method.learner.network and not isinstance(method.live, Tempered)
    method.sampling = SamplingConfig(denoise=True)
    torch.testing.assert_close(method.denoised(x), x - 0.09 * 16 * slope)


def test_cold_chains_follow_the_energy_divided_by_their_temperature():
    """The variance of E/T for E = |x|²/2 is T: what samples of `energy_function` and chains of the kernel on E both have."""
    kernel = registry.load("samplers", "ula")(step_size=0.2, noise_scale=0.1)
    start = torch.zeros(4000, 2)
    plain = GaussianLaw((2,), 0.0, 1.0)
    x, summary = samplers.run(kernel, plain, start, 300, torch.Generator().manual_seed(0))
    exact = registry.load("samplers", "mala")(step_size=0.4)
    y, _ = samplers.run(exact, tempered(plain, summary.temperature), start, 100, torch.Generator().manual_seed(1))
    for sample, bias in ((x, 1 / (1 - 0.2**2 / 4)), (y, 1.0)):
        expected = 0.25 * bias
        assert abs(float(sample.square().mean()) - expected) < 5 * expected * math.sqrt(2 / sample.numel())


def test_chains_without_noise_have_no_law_and_are_refused():
    kernel = {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.0}}
    with pytest.raises(ValueError, match="pcd samples at temperature 0"):
        build("pcd", SPEC, COLD | {"kernel": kernel}, network=SMALL)
