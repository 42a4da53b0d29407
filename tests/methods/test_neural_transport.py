"""NT-EBM: energies in latent and in data space are of one law, kernels keep it, and learning comes to its optimum."""

from pathlib import Path

import numpy as np
import pytest
import torch
from backbones import gaussian_backbone, required_of
from quadratic_network import QuadraticNetwork, gaussian_of
from small_flows import CASES, flow_of, points

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import on_arrays, value_and_gradient
from ebmpipe.flows.law import FlowLaw
from ebmpipe.methods import build
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.nets.base import build_network
from ebmpipe.samplers import HMC, run
from ebmpipe.spec import DataSpec
from ebmpipe.transport import LatentEnergy, Tilt, TiltedEnergy, independence


def spec_of(shape=(2,), kind="density"):
    return DataSpec("made_up", kind, shape, 0.4, 1.7, None, None, 2.0, Path())


def tilt_of(shape, kind="vectors"):
    torch.manual_seed(1)
    network = build_network(NetworkConfig(name="mlp", settings={"width": 16, "gain": 2.0}), spec_of(shape, kind))
    with torch.no_grad():
        network.head.weight.mul_(5.0)
    return Tilt(network, spec_of(shape, kind)).requires_grad_(False)


@pytest.mark.parametrize(("name", "shape", "settings"), CASES)
class TestOneLawInTwoSpaces:
    def test_by_the_change_of_variables(self, name, shape, settings):
        """E(z) is E(x(z)) less the logarithm of the Jacobian's determinant, which is evaluated for neither."""
        law, tilt = FlowLaw(flow_of(name, shape, settings), spec_of(shape)).double(), tilt_of(shape).double()
        z = points((law.flow.dimension,), 3)
        jacobians = torch.stack([torch.autograd.functional.jacobian(lambda at: law.carried(at[None]).flatten(), one) for one in z])
        expected = TiltedEnergy(tilt, law)(law.carried(z)) - torch.linalg.slogdet(jacobians)[1]
        torch.testing.assert_close(LatentEnergy(tilt, law)(z), expected)

    def test_gradients_are_those_of_autograd(self, name, shape, settings):
        law, tilt = FlowLaw(flow_of(name, shape, settings), spec_of(shape)).double(), tilt_of(shape).double()
        for energy, x in ((LatentEnergy(tilt, law), points((law.flow.dimension,))), (TiltedEnergy(tilt, law), points(shape))):
            at = x.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(energy(at).sum(), at)
            value, found = value_and_gradient(energy, x)
            torch.testing.assert_close(found, slope)
            torch.testing.assert_close(value, energy(x))
            torch.testing.assert_close(energy.grad(x), slope)


def test_the_partition_function_is_the_same_in_both_spaces():
    law, tilt = FlowLaw(flow_of("affine", (2,), {"transforms": 2, "width": 8, "activation": "silu"}), spec_of()), tilt_of((2,), "density")
    in_data, _ = log_partition(lambda x: -on_arrays(TiltedEnergy(tilt, law), "cpu")(x), (0.4, 0.4), 16.0)
    in_latent, _ = log_partition(lambda z: -on_arrays(LatentEnergy(tilt, law), "cpu")(z), (0.0, 0.0), 16.0)
    assert abs(in_data) > 0.1
    assert in_latent == pytest.approx(in_data, abs=1e-3)
    # And it is that of the tilt under the flow.
    x = law.sample(200_000, torch.Generator().manual_seed(0))
    weights = (-tilt(x).double()).exp()
    assert float(weights.mean().log()) == pytest.approx(in_data, abs=5 * float(weights.std() / weights.mean()) / len(x) ** 0.5)


class TestIndependence:
    def energy(self, precision=3.0):
        """f = precision |z|²/2, so that the law of z is N(0, 1 / (1 + precision))."""
        spec = spec_of((3,), "vectors")
        law = gaussian_backbone(spec).law
        return LatentEnergy(lambda x: precision * ((x - spec.mean) / spec.std).square().sum(1) / 2, law)

    def test_comes_to_the_law_from_far_away(self):
        z, acceptance = independence(self.energy(), torch.full((20_000, 3), 4.0), 60, torch.Generator().manual_seed(0))
        assert 0.1 < acceptance < 0.9
        torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=0.02, rtol=0)
        torch.testing.assert_close(z.var(0), torch.full((3,), 0.25), atol=0.01, rtol=0)

    def test_accepts_everything_where_nothing_is_tilted(self):
        start = torch.full((100, 3), 4.0)
        z, acceptance = independence(self.energy(0.0), start, 1, torch.Generator().manual_seed(0))
        assert acceptance == 1.0 and not (z == start).any()

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    def test_never_enters_what_is_not_finite_and_leaves_it(self, bad):
        energy = self.energy()
        finite = energy.tilt
        energy.tilt = lambda x: torch.where(x[:, 0] > 0.4, torch.tensor(bad), finite(x))
        z, _ = independence(energy, torch.full((500, 3), 1.0), 50, torch.Generator().manual_seed(0))
        assert (z[:, 0] <= 0).all()

    def test_agrees_with_hmc(self):
        law, tilt = FlowLaw(flow_of("affine", (2,), {"transforms": 2, "width": 8}), spec_of()), tilt_of((2,), "density")
        energy, generator = LatentEnergy(tilt, law), torch.Generator().manual_seed(0)
        start = torch.randn(5_000, 2, generator=generator)
        one = independence(energy, start, 100, generator)[0]
        other = run(HMC(0.2, 5), energy, start, 100, generator)[0]
        for a, b in ((one, other), (one.square(), other.square())):
            error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
            assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("name", ["neural_transport", "neural_transport_nce"])
def test_chains_at_another_temperature_are_refused(name):
    """Their law, exp(-(f(g(z)) + |z|²/2) / T), is that of no f over T in data space."""
    spec = spec_of()
    cold = {"kernel": {"name": "ula", "settings": {"step_size": 0.1, "noise_scale": 0.05}}}
    cold |= {"acceptance": None} if name == "neural_transport" else {}
    with pytest.raises(ValueError, match="leave out the noise_scale of ula"):
        build(name, spec, cold, 0, required=required_of(name, spec))


@pytest.mark.parametrize(("kernel", "known"), [("hmc", True), ("mala", True), ("ula", False)])
def test_independence_goes_on_from_the_energy_that_is_known(kernel, known, monkeypatch):
    """And costs as many evaluations as it says."""
    spec = spec_of()
    settings = {"kernel": {"name": kernel, "settings": {"step_size": 0.1}}} | ({} if known else {"acceptance": None})
    method = build("neural_transport", spec, settings, 0, required=required_of("neural_transport", spec))
    calls, tilt = [], LatentEnergy.carried
    monkeypatch.setattr(LatentEnergy, "carried", lambda self, u: calls.append(len(u)) or tilt(self, u))
    method.training_step(torch.randn(128, 2), torch.Generator().manual_seed(0))
    # The last one makes negatives of where chains are.
    through = sum(calls) - 128
    assert through == 128 * (method.kernel.cost(1) + method.beside) and method.beside == 2 + (not known)
    for counts_as in (1, 8):
        priced = build("neural_transport", spec, settings | {"counts_as": counts_as}, 0, required=required_of("neural_transport", spec))
        assert priced.gradient_evaluations_per_step == counts_as * through + 2 * 128


class TestLearning:
    @pytest.mark.parametrize("settings", [{}, {"chains": None, "steps": 5}, {"independence": 0, "steps": 3}], ids=str)
    def test_a_quadratic_tilt_of_a_gaussian_comes_to_that_of_the_data(self, settings):
        """The optimum is the data's mean and covariance, whatever the flow has: both signs, scales and the backbone's share are right."""
        mean, root = torch.tensor([0.7, -0.4, 0.2]), torch.tensor([[1.2, 0, 0], [0.5, 0.8, 0], [-0.3, 0.2, 1.5]])
        spec = DataSpec("gaussian", "vectors", (3,), 0.1, 1.2, None, None, None, Path())
        given = {"batch_size": 512, "chains": 2048, "optimiser": {"learning_rate": 0.02, "average_decay": 0.99}} | settings
        network = NetworkConfig(name=QuadraticNetwork.name)
        backbone = {"backbone": gaussian_backbone(spec)}
        method = build("neural_transport", spec, given, 0, network=network, iterations=800, required=backbone)
        generator = torch.Generator().manual_seed(1)
        for _ in range(800):
            method.training_step(mean + torch.randn(512, 3, generator=generator) @ root.T, generator)
        found_mean, found_covariance = gaussian_of(method.energy_function(), (3,))
        torch.testing.assert_close(found_mean.float(), mean, atol=0.06, rtol=0)
        torch.testing.assert_close(found_covariance.float(), root @ root.T, atol=0.12, rtol=0)
        drawn = method.own_samples(4_000, torch.Generator().manual_seed(2))
        torch.testing.assert_close(drawn.x.mean(0), mean, atol=0.15, rtol=0)
        torch.testing.assert_close(drawn.x.T.cov(), root @ root.T, atol=0.25, rtol=0)
        assert drawn.sampler == "latent chains" and drawn.sampler_steps == 100

    def test_the_step_size_follows_the_acceptance(self):
        spec = spec_of()
        given = {"kernel": {"name": "hmc", "settings": {"step_size": 0.01, "leapfrog_steps": 3}}, "acceptance": 0.7}
        method, generator = build("neural_transport", spec, given, 0, required=required_of("neural_transport", spec)), torch.Generator()
        reports = [method.training_step(torch.randn(128, 2, generator=generator), generator) for _ in range(400)]
        assert float(reports[0]["step_size"]) == pytest.approx(0.01)
        assert np.mean([report["acceptance"] for report in reports[-50:]]) == pytest.approx(0.7, abs=0.05)

    @pytest.mark.parametrize("name", ["neural_transport", "neural_transport_nce"])
    def test_the_backbone_stays_as_it_is_and_out_of_the_model_file(self, name):
        spec = spec_of()
        required = required_of(name, spec)
        method, generator = build(name, spec, {}, 0, required=required), torch.Generator()
        before = {key: value.clone() for key, value in required["backbone"].state_dict().items()}
        for _ in range(3):
            method.training_step(torch.randn(128, 2, generator=generator), generator)
        assert all(torch.equal(value, before[key]) for key, value in required["backbone"].state_dict().items())
        assert not any("flow" in key for key in method.state_dict())

    def test_chains_persist_unless_told_not_to(self):
        spec = spec_of()
        for chains in (256, None):
            method = build("neural_transport", spec, {"chains": chains}, 0, required=required_of("neural_transport", spec))
            assert (method.chains() is None) == (chains is None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chains": 8}, "at least as many chains"),
        ({"kernel": {"name": "ula", "settings": {"step_size": 0.1}}}, "accepts everything"),
        ({"support": "box"}, "cannot train an energy on a box"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    spec = spec_of((1, 8, 8), "images")
    with pytest.raises(ValueError, match=message):
        build("neural_transport", spec, settings, required=required_of("neural_transport", spec))


def test_a_backbone_that_is_no_flow_is_refused():
    spec = spec_of()
    with pytest.raises(ValueError, match="label of method `flow` or `vae`"):
        build("neural_transport", spec, {}, required={"backbone": build("dsm", spec)})
