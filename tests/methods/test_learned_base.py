"""A Gaussian base whose mean and width are learned: its density, what learns them, and that all that looks at an energy sees it."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe.bracketing import bracketed
from ebmpipe.checkpoint import load_model, save_model
from ebmpipe.config import KernelConfig, NetworkConfig, PartitionConfig, SamplingConfig
from ebmpipe.derivatives import by_forward_over_reverse, slope_and_laplacian
from ebmpipe.energies import BasedEnergy, frozen, gradient, on_arrays, value_and_gradient
from ebmpipe.learned_base import LearnedGaussian
from ebmpipe.methods import build
from ebmpipe.methods.contrastive import ContrastiveConfig
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.nets.base import EnergyNetwork, NetworkSettings
from ebmpipe.registry import load_all
from ebmpipe.scored import Scored
from ebmpipe.spec import DataSpec

PLANE = DataSpec("made_up", "density", (2,), 0.5, 2.0, None, None, None, Path())
IMAGES = DataSpec("made_up", "images", (1, 8, 8), -0.3, 0.5, 17, 3, None, Path())
SMALL = NetworkConfig(settings={"width": 16})
SHAPES = [(1,), (2,), (5,), (1, 3, 3)]
#: Every method that runs chains in its updates.
FAMILY = sorted(name for name, method in load_all("methods").items() if issubclass(method.Config, ContrastiveConfig))
MEAN, STD = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.tensor([0.7, 3.0], dtype=torch.float64)


def gaussian(shape):
    """With a mean and a width of its own in every coordinate, in double precision."""
    law, generator = LearnedGaussian(shape, 0.5, 2.0).double(), torch.Generator().manual_seed(0)
    for parameter in law.parameters():
        parameter.data += 0.4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return law


def points(shape, n=6):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def made(name="pcd", spec=PLANE, network=SMALL, iterations=100, **settings):
    return build(name, spec, {"learned_base": True, "batch_size": 64} | settings, network=network, iterations=iterations)


def examples(n, generator):
    return MEAN + STD * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def trained(method, updates=20):
    generator = torch.Generator().manual_seed(3)
    for _ in range(updates):
        method.training_step(examples(method.config.batch_size, generator).float(), generator)
    return method


# The law.


@pytest.mark.parametrize("shape", [(1,), (2,)])
def test_it_is_normalised(shape):
    """By a rule that is exact to all digits for functions as smooth as these."""
    law, steps = gaussian(shape), torch.linspace(-30, 30, 601, dtype=torch.float64)
    x = torch.cartesian_prod(*[steps] * math.prod(shape)).view(-1, *shape)
    assert float((-law(x).detach()).exp().sum()) * 0.1 ** math.prod(shape) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_derivatives(shape):
    law, x = gaussian(shape), points(shape).requires_grad_(True)
    value = law(x)
    torch.testing.assert_close(value, -torch.distributions.Normal(law.mean, law.std).log_prob(x).flatten(1).sum(1))
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(law.grad(x), slope)
    for found, expected in zip(law.value_and_grad(x), (value, slope), strict=True):
        torch.testing.assert_close(found, expected.detach())
        assert not found.requires_grad
    weights = list(law.parameters())
    found, expected = law.slope_and_laplacian(x.detach()), by_forward_over_reverse(law.forward, x.detach())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    ours, theirs = (torch.autograd.grad(v.sum() + s.square().sum() + 2 * la.sum(), weights) for v, s, la in (found, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_are_its_own(shape):
    law, n = gaussian(shape).float(), 40_000
    x = law.sample(n, torch.Generator().manual_seed(0))
    assert x.shape == (n, *shape) and x.dtype == torch.float32 and not x.requires_grad
    assert ((x.mean(0) - law.mean).abs() < 5 * law.std / math.sqrt(n)).all()
    torch.testing.assert_close(x.std(0), law.std, rtol=5 / math.sqrt(2 * n), atol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_energies_on_it_have_its_derivatives(shape, temperature):
    spec = DataSpec("made_up", "vectors", shape, 0.2, 0.7, None, None, None, Path())
    network = made(spec=spec).live.network.double()
    energy, x = BasedEnergy(network, spec, gaussian(shape), temperature), points(shape).requires_grad_(True)
    value = energy(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient(energy, x), slope)
    for found, expected in zip(value_and_gradient(energy, x), (value, slope), strict=True):
        torch.testing.assert_close(found, expected.detach())
    with frozen(energy):
        torch.testing.assert_close(gradient(energy, x), slope)
    for found, expected in zip(slope_and_laplacian(energy, x.detach()), by_forward_over_reverse(energy.forward, x.detach()), strict=True):
        torch.testing.assert_close(found, expected)


# Learning it.


class Nothing(EnergyNetwork):
    """f = 0: all that there is to learn is the base."""

    name, revision, kinds, Config = "nothing", 1, frozenset({"density", "vectors"}), NetworkSettings

    def forward(self, x):
        return 0 * x.flatten(1).sum(1)


NOTHING = NetworkConfig(name=f"{__name__}:Nothing")


@pytest.mark.parametrize("noise_scale", [None, 0.3])
def test_alone_it_learns_mean_and_width_of_the_data(noise_scale):
    """From one number each to those of every coordinate, in double precision; at a temperature of 0.36 too, which the law is without."""
    kernel = {"name": "mala", "settings": {"step_size": 0.8}}
    if noise_scale:
        kernel = {"name": "ula", "settings": {"step_size": 0.5, "noise_scale": noise_scale}}
    optimiser = {"learning_rate": 0.03, "average_decay": 0.98}
    settings = {"batch_size": 1024, "chains": 1024, "steps": 5, "kernel": kernel, "optimiser": optimiser}
    method = made(network=NOTHING, iterations=500, **settings).double()
    generator = torch.Generator().manual_seed(3)
    for _ in range(500):
        method.training_step(examples(1024, generator), generator)
    base = method.tilted
    assert base.mean.dtype == torch.float64
    # A step of 0.5 makes ULA's variance too small by its discretisation, where the data are narrow.
    tolerance = 0.03 if noise_scale is None else 0.1
    assert ((base.mean - MEAN).abs() / STD).max() < tolerance
    assert (base.std / STD - 1).abs().max() < tolerance
    x = points((2,))
    expected = -torch.distributions.Normal(base.mean, base.std).log_prob(x).sum(1)
    torch.testing.assert_close(method.energy(x), expected)
    assert method.temperature == pytest.approx(1.0 if noise_scale is None else 0.36)


def test_the_update_is_the_likelihood_gradient_of_its_weights():
    """∂/∂μ and ∂/∂log s of the contrast: differences of the first two moments of data and negatives."""
    method = made(chains=64, optimiser={"betas": [0.0, 0.0]})
    batch = examples(64, torch.Generator().manual_seed(2)).float()
    drawn = method.negatives(batch, torch.Generator().manual_seed(1)).x
    method.training_step(batch, torch.Generator().manual_seed(1))
    names = [name for name, _ in method.live.named_parameters()]
    moments = dict(zip(names, method.learner.moments("first_moment"), strict=True))
    torch.testing.assert_close(moments["base.mean"], (drawn.mean(0) - batch.mean(0)) / PLANE.std**2)
    squares = [((x - PLANE.mean) / PLANE.std).square().mean(0) for x in (drawn, batch)]
    torch.testing.assert_close(moments["base.log_std"], squares[0] - squares[1])


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("spec", [PLANE, IMAGES], ids=["plane", "images"])
def test_every_method_of_the_family_learns_it(name, spec):
    """From the data's own mean and width on, which chains and the energy penalty go on to refer to."""
    if spec.kind not in load_all("methods")[name].kinds:
        pytest.skip(f"{name} does not take {spec.kind}")
    method = made(name, spec, batch_size=8, **{"chains": 16} if "chains" in load_all("methods")[name].Config.model_fields else {})
    assert (method.base.mean, method.base.std) == (spec.mean, spec.std)
    x = spec.mean + spec.std * torch.randn(8, *spec.shape)
    torch.testing.assert_close(method.live.base(x), method.base(x))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        method.training_step(0.5 * x + 0.1, generator)
    for base in (method.live.base, method.tilted):
        assert base.mean.shape == base.log_std.shape == spec.shape
        assert (base.mean != spec.mean).all()
        assert (base.std != spec.std).all()
    if method.config.optimiser.average_decay:
        assert not torch.equal(method.live.base.mean, method.tilted.mean), "the average lags"
    assert (method.base.mean, method.base.std) == (spec.mean, spec.std)


def test_the_energy_penalty_is_on_all_that_the_energy_adds_to_where_it_began():
    free, held = (trained(made(network=NOTHING, energy_penalty=penalty, optimiser={"learning_rate": 0.01})) for penalty in (0.0, 100.0))
    moved = [float((method.tilted.mean - PLANE.mean).norm()) for method in (free, held)]
    assert moved[1] < 0.3 * moved[0]
    x = points((2,)).float()
    method = made(network=NOTHING, energy_penalty=2.0)
    method.live.base.mean.data += 0.5
    energies = method.live(x)
    loss = method.as_update(energies.sum() * 0, energies, x).loss
    torch.testing.assert_close(loss, 2.0 * (energies - method.base(x)).square().mean())


# Looking at what was learned.


def test_log_z_is_zero_where_the_network_is():
    method = trained(made(network=NOTHING))
    negative = on_arrays(method.energy, "cpu")
    assert log_partition(lambda x: -negative(x), half_width=20.0)[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("noise_scale", [0.5, 0.3])
def test_annealing_and_quadrature_agree_on_its_log_z(noise_scale):
    """With annealing from the law that the energy tilts, at a temperature of 0.36 too."""
    kernel = {"name": "ula", "settings": {"step_size": 0.5, "noise_scale": noise_scale}}
    method = trained(made(kernel=kernel, optimiser={"learning_rate": 0.02}), 40)
    scored = Scored.of(method, {}, "fresh", 0, "cpu")
    assert scored.base is method.learner.average.base
    negative = on_arrays(method.energy_function(), "cpu")
    exact = log_partition(lambda x: -negative(x), half_width=20.0)[0]
    assert abs(exact) > 0.05
    found = bracketed(scored, lambda: None, PartitionConfig(chains=64), "cpu")()
    for which in ("forward", "smc"):
        assert found.estimates[which].log_z == pytest.approx(exact, abs=0.05)


def test_jarzynskis_walkers_count_log_z_from_where_the_base_began():
    """The change of the base is a change of the energy like any other."""
    method = made("jarzynski", walkers=10_000, witnesses=0, iterations=50, optimiser={"learning_rate": 0.02})
    trained(method, 50)
    assert float((method.live.base.mean.detach() - PLANE.mean).norm()) > 0.1
    with torch.no_grad():
        log_z, variance = method.walkers.reweighted(method.live).log_partition()
    negative = on_arrays(method.live, "cpu")
    exact = log_partition(lambda x: -negative(x), half_width=20.0)[0]
    assert abs(exact) > 0.1
    assert abs(float(log_z) - exact) < min(5 * math.sqrt(float(variance)) + 0.01, 0.05)


def test_fresh_samples_are_of_the_learned_law():
    method = trained(made(network=NOTHING, optimiser={"learning_rate": 0.02}), 60)
    method.sampling = SamplingConfig(n=4000, steps=300, kernel=KernelConfig(name="mala", settings={"step_size": 0.9}))
    x, base = method.sample(4000, torch.Generator().manual_seed(0)).x, method.tilted
    assert ((x.mean(0) - base.mean).abs() < 6 * base.std / math.sqrt(4000)).all()
    torch.testing.assert_close(x.std(0), base.std, rtol=0.07, atol=0)


def test_it_is_saved_and_loaded_with_everything_else(tmp_path):
    method, other = trained(made()), made(iterations=100)
    save_model(tmp_path / "model.safetensors", method.state_dict(), {})
    other.load_state_dict(load_model(tmp_path / "model.safetensors"))
    x = points((2,)).float()
    assert torch.equal(method.energy(x), other.energy(x))
    assert torch.equal(method.tilted.mean, other.tilted.mean)
    assert not torch.equal(other.tilted.mean, torch.full((2,), PLANE.mean))
    with pytest.raises(RuntimeError, match=r"base\.mean"):
        build("pcd", PLANE, {"batch_size": 64}, network=SMALL).load_state_dict(method.state_dict())


def test_a_classifier_has_it_too():
    method = made(spec=IMAGES, cross_entropy=1.0)
    x = torch.randn(5, *IMAGES.shape)
    value, logits = method.live.with_logits(x)
    torch.testing.assert_close(value, -logits.logsumexp(1) + method.live.base(x))


# Where it cannot be had.


@pytest.mark.parametrize(
    ("name", "spec", "settings", "message"),
    [
        ("pcd", IMAGES, {"support": "box"}, "learned_base is of a Gaussian, and the base on the box is uniform"),
        ("cd", IMAGES, {"start": "multigrid"}, "leave out support, spectral_norm and learned_base"),
        ("dsm", PLANE, {}, "learned_base"),
    ],
)
def test_refusals(name, spec, settings, message):
    with pytest.raises(ValueError, match=message):
        made(name, spec, **settings)


def test_states_are_refused(monkeypatch):
    """By a method of the family that took them."""
    states = DataSpec("made_up", "binary", (3,), 0.0, 1.0, None, None, None, Path())
    monkeypatch.setattr(load_all("methods")["pcd"], "kinds", frozenset({"binary"}))
    with pytest.raises(ValueError, match="the base on states is uniform"):
        made(spec=states, kernel={"name": "gibbs", "settings": {}})
