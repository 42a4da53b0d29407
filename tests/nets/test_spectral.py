"""Spectral normalisation: singular values, slopes, and that only updates change its state."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from ebmpipe import registry, samplers
from ebmpipe.batches import Batches
from ebmpipe.config import NetworkConfig, OptimiserConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import frozen, gradient, value_and_gradient
from ebmpipe.methods import build
from ebmpipe.nets.spectral import SpectralNorm, follow_weights, spectrally_normalised
from ebmpipe.optimisation import Diverged, Learner

#: The largest slope of SiLU, and of Swish, however sharp.
SLOPE = 1.0999
#: Every network with settings that keep it small, on images of three channels.
NETWORKS = sorted(name for name, network in registry.load_all("nets").items() if "images" in network.kinds)
SMALL = {name: {"width": 16} for name in ("mlp", "swish_mlp", "leaky_mlp")} | {name: {"widths": [4, 6]} for name in ("conv", "resnet")}
SHAPE = (3, 8, 8)


def normalised(name, bound=1.0, shape=SHAPE):
    torch.manual_seed(0)
    network = registry.load("nets", name)
    return spectrally_normalised(network(shape, network.Config.model_validate(SMALL[name])), bound)


def weights(network):
    """The effective weights of everything normalised."""
    return [m.weight for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def norms(network):
    return [float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) for weight in weights(network)]


def fitted(network, updates=60, learning_rate=1e-2, **settings):
    """A learner that drove two clouds apart, with large steps."""
    learner = Learner(network, OptimiserConfig(learning_rate=learning_rate, schedule="constant", **settings), updates)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        x = torch.randn(16, *SHAPE, generator=generator)
        loss = (network(x) - network(1.5 * x + 1)).mean()
        learner.update(list(torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)))
    return learner


@pytest.mark.parametrize("name", NETWORKS)
class TestNetworks:
    @pytest.mark.parametrize("bound", [1.0, 2.5])
    def test_norms_are_the_bound_at_the_start(self, name, bound):
        network = normalised(name, bound)
        assert norms(network) == pytest.approx([bound] * len(weights(network)), rel=1e-5)

    def test_and_stay_there_in_training_for_the_average_too(self, name):
        learner = fitted(normalised(name, 1.5), average_decay=0.9)
        original = [p for key, p in learner.network.named_parameters() if key.endswith("weight.original")]
        assert max(float(torch.linalg.matrix_norm(p.detach().flatten(1), 2)) for p in original) > 1.1 * 1.5, "the test is too easy"
        for network in (learner.network, learner.average):
            assert norms(network) == pytest.approx([1.5] * len(weights(network)), rel=2e-3)

    def test_gradients_by_hand_are_those_of_the_normalised_network(self, name):
        network = fitted(normalised(name)).network.double()
        x = torch.randn(5, *SHAPE, dtype=torch.float64, requires_grad=True)
        value = network(x)
        (slope,) = torch.autograd.grad(value.sum(), x)
        found = value_and_gradient(network, x.detach())
        torch.testing.assert_close(found[0], value.detach())
        torch.testing.assert_close(found[1], slope)
        torch.testing.assert_close(gradient(network, x.detach()), slope)

    def test_frozen_weights_are_computed_once_and_give_the_same(self, name, monkeypatch):
        network, calls, plain = normalised(name), [], SpectralNorm.forward
        x = torch.randn(5, *SHAPE)
        value, slope = value_and_gradient(network, x)
        monkeypatch.setattr(SpectralNorm, "forward", lambda self, weight: calls.append(1) or plain(self, weight))
        with frozen(network):
            for _ in range(3):
                found = value_and_gradient(network, x)
                torch.testing.assert_close(gradient(network, x), slope)
        torch.testing.assert_close(found, (value, slope))
        assert len(calls) == len(weights(network))
        # Outside, they follow the weights again, and gradients reach them.
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        assert not torch.equal(network(x).detach(), value)
        network(x).sum().backward()
        assert all(p.grad is not None for p in network.parameters())

    def test_looking_changes_nothing(self, name):
        network = normalised(name)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        for _ in range(2):
            value_and_gradient(network, torch.randn(5, *SHAPE))
            network.train()(torch.randn(5, *SHAPE)).sum().backward()
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    def test_state_round_trip(self, name):
        learner = fitted(normalised(name))
        other = Learner(normalised(name), learner.config, learner.iterations)
        other.load_state_dict(learner.state_dict())
        x = torch.randn(5, *SHAPE)
        for mine, theirs in ((learner.network, other.network), (learner.average, other.average)):
            assert torch.equal(mine(x), theirs(x))
        assert any(key.endswith("weight.0.u") for key in learner.state_dict())


@pytest.mark.parametrize("name", ["mlp", "swish_mlp"])
def test_slope_is_at_most_the_product_of_the_bounds(name):
    """Of the perceptrons, whose layers are matrices: and close to it, or the bound would be idle."""
    network = fitted(normalised(name, 1.3), updates=300).network
    x = 5 * torch.randn(2000, *SHAPE, generator=torch.Generator().manual_seed(0))
    slopes = gradient(network, x).flatten(1).norm(dim=1)
    bound = (1.002 * 1.3) ** len(weights(network)) * SLOPE**2
    assert 0.3 * bound < float(slopes.max()) <= bound


def test_gradient_in_the_weights_is_that_of_the_normalised_weight():
    """∂(W/σ) with σ the largest singular value itself, by autograd through the decomposition."""
    weight = torch.randn(6, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    norm = SpectralNorm(weight, 0.7)
    direction = torch.randn_like(weight)
    (found,) = torch.autograd.grad((norm(weight) * direction).sum(), weight)
    exact = 0.7 * weight / torch.linalg.svdvals(weight.flatten(1))[0]
    (expected,) = torch.autograd.grad((exact * direction).sum(), weight)
    torch.testing.assert_close(norm(weight), exact)
    torch.testing.assert_close(found, expected)


def test_iteration_finds_the_norm_of_another_weight():
    torch.manual_seed(0)
    layer = spectrally_normalised(nn.Linear(20, 10), 2.0)
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    assert norms(layer)[0] > 3, "the test is too easy"
    for _ in range(3):
        follow_weights(layer)
    assert norms(layer)[0] == pytest.approx(2.0, rel=1e-4)


def test_biases_are_left_alone():
    layer = nn.Linear(3, 2)
    bias = layer.bias.detach().clone()
    assert torch.equal(spectrally_normalised(layer, 1.0).bias, bias)
    assert not parametrize.is_parametrized(layer, "bias")


def test_what_has_no_norm_to_give_is_refused():
    with pytest.raises(ValueError, match="Flatten has no weight matrix"):
        spectrally_normalised(nn.Flatten(), 1.0)
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    with pytest.raises(ValueError, match="zero"):
        spectrally_normalised(layer, 1.0)


METHODS = ["pcd", "nce", "dsm"]
NETWORK = NetworkConfig(name="mlp", settings={"width": 16, "depth": 2})


def made(name, data, **settings):
    chains = {"chains": 64, "steps": 3} if name == "pcd" else {}
    return build(name, data.spec, {"batch_size": 32, "spectral_norm": 1.0} | chains | settings, network=NETWORK, iterations=50)


def trained(method, data, first, last, generator):
    batches = Batches(data, 32, 0, "cpu")
    for step in range(first, last):
        method.training_step(batches.at(step, generator), generator)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dataset", ["eight_gaussians", "digits"])
class TestMethods:
    def test_norms_hold_and_resume_is_exact(self, name, dataset, prepared):
        data = Prepared(prepared[dataset])
        whole, first, second = (made(name, data) for _ in range(3))
        generators = [torch.Generator().manual_seed(5) for _ in range(2)]
        trained(whole, data, 0, 8, generators[0])
        trained(first, data, 0, 4, generators[1])
        second.load_state_dict(first.state_dict())
        trained(second, data, 4, 8, generators[1])
        for key, value in whole.state_dict().items():
            assert torch.equal(value, second.state_dict()[key]), key
        for network in (whole.learner.network, whole.learner.average):
            assert norms(network) == pytest.approx([1.0] * 3, rel=2e-3)

    def test_divergence_changes_nothing(self, name, dataset, prepared):
        data = Prepared(prepared[dataset])
        method, generator = made(name, data), torch.Generator().manual_seed(5)
        trained(method, data, 0, 3, generator)
        with torch.no_grad():
            next(p for p in method.live.parameters() if p.numel() == 1).fill_(torch.inf)
        before = {key: value.clone() for key, value in method.state_dict().items()}
        with pytest.raises(Diverged):
            trained(method, data, 3, 4, generator)
        for key, value in method.state_dict().items():
            assert torch.equal(value, before[key]), key


def test_sampling_is_the_same_as_from_the_plain_network(prepared):
    """A network that simply has the normalised weights, sampled by the same chains."""
    data = Prepared(prepared["eight_gaussians"])
    method, generator = made("pcd", data), torch.Generator().manual_seed(5)
    trained(method, data, 0, 5, generator)
    plain = build("pcd", data.spec, {"batch_size": 32, "chains": 64}, network=NETWORK).learner.average
    normalised_layers = [m for m in method.learner.average.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for layer, other in zip([m for m in plain.modules() if isinstance(m, nn.Linear)], normalised_layers, strict=True):
            layer.weight.copy_(other.weight)
            layer.bias.copy_(other.bias)
    start = method.base.sample(50, torch.Generator().manual_seed(0))
    chains = []
    for energy in (method.learner.average, plain):
        with frozen(energy):
            chains.append(samplers.run(method.kernel, energy, start, 10, torch.Generator().manual_seed(1))[0])
    torch.testing.assert_close(*chains)


def test_the_gain_of_the_input_is_no_freedom_of_the_weights():
    """f(gain x): the first layer keeps its gain on top of the bound, the others have the bound."""
    torch.manual_seed(0)
    mlp = registry.load("nets", "mlp")
    network = spectrally_normalised(mlp((2,), mlp.Config(width=16, gain=6.0)), 2.0)
    assert norms(network) == pytest.approx([12.0, 2.0, 2.0], rel=0.02)
