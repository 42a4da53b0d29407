"""Dual-MCMC teaching and its relatives: posteriors, gradients and optima against the linear Gaussian case."""

import math
from pathlib import Path

import pytest
import torch
from quadratic_network import QuadraticNetwork, gaussian_of
from scipy.optimize import brentq
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from ebmpipe.config import NetworkConfig
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.latent_variable import LatentVariableLaw, Posterior
from ebmpipe.methods import build
from ebmpipe.spec import DataSpec

FAMILY = ("dual_mcmc", "cooperative", "divergence_triangle")
SHAPES = [(3,), (1, 2, 2)]


def spec_of(shape, mean=0.3, std=1.4):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, mean, std, None, None, None, Path())


def family(name, shape, **settings):
    given = {"batch_size": 16, "latent": 2, "noise": 0.5, "data_noise": 0, "decoder": {"width": 8}, "encoder": {"width": 8}} | settings
    return build(name, spec_of(shape), given, 0, network=NetworkConfig(name="mlp", settings={"width": 8}), iterations=50)


def examples(shape, n=16, seed=5):
    return 0.3 + 1.4 * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """g(z) = Az + b."""

    def __init__(self, shape, latent):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.shape = shape
        self.matrix = torch.randn(math.prod(shape), latent, generator=generator, dtype=torch.float64)
        self.offset = torch.randn(math.prod(shape), generator=generator, dtype=torch.float64)

    def forward(self, z):
        return (z @ self.matrix.T + self.offset).view(-1, *self.shape)


@pytest.mark.parametrize("shape", SHAPES)
class TestPosterior:
    def laws(self, shape, doubled, noise=0.7):
        """The posterior's energy at one example, and the Gaussian that it is."""
        law = LatentVariableLaw(Linear(shape, 2), nn.Identity(), 2, noise, spec_of(shape)).double().requires_grad_(False)
        x = examples(shape, 1).double()
        # Without the ½ the likelihood is that of a noise of σ/√2.
        sigma = noise / math.sqrt(2) if doubled else noise
        precision = torch.eye(2, dtype=torch.float64) + law.decoder.matrix.T @ law.decoder.matrix / sigma**2
        residual = ((x - law.mean) / law.std).flatten() - law.decoder.offset
        mean = torch.linalg.solve(precision, law.decoder.matrix.T @ residual / sigma**2)
        return law, x, MultivariateNormal(mean, precision_matrix=precision)

    @pytest.mark.parametrize("doubled", [False, True])
    def test_is_the_gaussian_that_it_is(self, shape, doubled):
        law, x, truth = self.laws(shape, doubled)
        z = torch.randn(7, 2, dtype=torch.float64)
        found = Posterior(law, x.expand(7, *shape), doubled)(z)
        expected = -truth.log_prob(z)
        torch.testing.assert_close(found - found[0], expected - expected[0])

    @pytest.mark.parametrize("likelihood", ["equation", "released"])
    def test_revised_codes_come_to_it_from_anywhere(self, shape, likelihood):
        method = family(
            "dual_mcmc", shape, noise=0.7, likelihood=likelihood, posterior_kernel={"name": "mala", "settings": {"step_size": 0.2}}
        )
        law, x, truth = self.laws(shape, likelihood == "released")
        n = 4_000
        start = torch.full((n, 2), 3.0, dtype=torch.float64)
        z, _ = method.codes(law).revised(x.expand(n, *shape), start, 400, torch.Generator().manual_seed(0))
        torch.testing.assert_close(z.mean(0), truth.mean, atol=0.05, rtol=0)
        torch.testing.assert_close(z.T.cov(), truth.covariance_matrix, atol=0.05, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_with_codes_of_the_known_posterior_both_models_learn_from_the_data_s_likelihood(shape, monkeypatch):
    """Fisher's identity: E ∇log p(x, z) over p(z | x) is ∇log N(x; b, AAᵀ + σ²I); and -E ∇log q(z | x) that of KL(p(z | x) ‖ q)."""
    n, sigma, size = 20_000, 0.5, math.prod(shape)
    plain = {"width": 8, "betas": [0.0, 0.9]}
    method = family("dual_mcmc", shape, batch_size=n, decoder=plain, encoder=plain, revision=0, generated=0, steps=1).double()
    for learner in (method.generator, method.inference):
        learner.config = learner.config.model_copy(update={"gradient_clip": None})
    decoder, encoder = method.generator.network, method.inference.network
    torch.nn.init.zeros_(decoder.perceptron[-1].weight)
    x = examples(shape, 1).double()
    y = ((x - 0.3) / 1.4).flatten()
    matrix, offset = (p.detach().clone().requires_grad_(True) for p in (decoder.linear.weight, decoder.perceptron[-1].bias))
    marginal = MultivariateNormal(offset, matrix @ matrix.T + sigma**2 * torch.eye(size, dtype=torch.float64))
    expected = torch.autograd.grad(-marginal.log_prob(y), [matrix, offset])
    precision = torch.eye(2, dtype=torch.float64) + matrix.T @ matrix / sigma**2
    covariance = torch.linalg.inv(precision).detach()
    mean = (covariance @ matrix.T @ (y - offset) / sigma**2).detach()
    root = torch.linalg.cholesky(covariance)
    codes = mean + torch.randn(n, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64) @ root.T
    monkeypatch.setattr(LatentCodes, "revised", lambda *_: (codes, None))
    answer = encoder(y.view(1, *shape)).detach()[0]
    method.training_step(x.expand(n, *shape), torch.Generator().manual_seed(3))
    # Adam's first moments, in the order of the weights.
    found = dict(zip((name for name, _ in decoder.named_parameters()), gradients(method.generator), strict=True))
    torch.testing.assert_close(found["linear.weight"], expected[0], atol=0.1, rtol=0.03)
    torch.testing.assert_close(found["perceptron.4.bias"], expected[1], atol=0.1, rtol=0.03)
    found = dict(zip((name for name, _ in encoder.named_parameters()), gradients(method.inference), strict=True))
    distance = (mean - answer[0]).square() + covariance.diagonal()
    of_mean, of_log_variance = -(mean - answer[0]) / answer[1].exp(), (1 - distance / answer[1].exp()) / 2
    torch.testing.assert_close(found["perceptron.4.bias"], torch.cat([of_mean, of_log_variance]), atol=0.03, rtol=0.03)


def gradients(learner):
    """What the first update was made with: without momentum Adam's first moment is the gradient."""
    assert learner.config.betas[0] == 0 and int(learner.updates) == 1
    return learner.moments("first_moment")


PLAIN = {"betas": [0.0, 0.9]}


@pytest.mark.parametrize("shape", SHAPES)
class TestGradients:
    """Of all three models, against the objectives as they are written, with samples that are given."""

    def prepared(self, name, shape, monkeypatch, **settings):
        """A method whose chains lead to given places, and copies of its models before the update."""
        still = {"betas": [0.0, 0.9], "gradient_clip": None}
        method = family(name, shape, decoder={"width": 8, **PLAIN}, encoder={"width": 8, **PLAIN}, optimiser=still, **settings)
        codes = torch.randn(16, 2, generator=torch.Generator().manual_seed(8))
        starts = []

        def revised(start, generator):
            starts.append(start.clone())
            summary = type(method).revised(method, start, generator)[1]
            return start + 0.1 * len(starts), summary

        monkeypatch.setattr(method, "revised", revised)
        monkeypatch.setattr(LatentCodes, "revised", lambda *_: (codes, None))
        for learner in (method.generator, method.inference):
            learner.config = learner.config.model_copy(update={"gradient_clip": None})
        before = {key: value.clone() for key, value in method.state_dict().items()}
        return method, codes, starts, before

    def log_given(self, method, x, z):
        """log p(x | z), of standardised events, by torch's own normal law."""
        made = method.generator.network(z).flatten(1)
        return Normal(made, method.config.noise).log_prob(((x - 0.3) / 1.4).flatten(1)).sum(1)

    def log_inferred(self, method, x, z):
        """log q(z | x)."""
        mean, log_variance = method.inference.network((x - 0.3) / 1.4).unbind(1)
        return Normal(mean, log_variance.exp().sqrt()).log_prob(z).sum(1)

    def compare(self, found, loss, network):
        parameters = list(network.parameters())
        expected = torch.autograd.grad(loss, parameters)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)

    @pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 50.0, 0.1)])
    def test_of_dual_mcmc(self, shape, weights, monkeypatch):
        reconstruction, revision, generated = weights
        given = {"reconstruction": reconstruction, "revision": revision, "generated": generated}
        method, codes, starts, before = self.prepared("dual_mcmc", shape, monkeypatch, **given)
        batch = examples(shape)
        method.training_step(batch, torch.Generator().manual_seed(3))
        after = {key: value.clone() for key, value in method.state_dict().items()}
        u = torch.randn(16, 2 + math.prod(shape), generator=torch.Generator().manual_seed(3))
        z, noise = u[:, :2], u[:, 2:].view(16, *shape)
        grads = {name: [g.clone() for g in gradients(getattr(method, name))] for name in ("generator", "inference", "learner")}

        def made():
            return 0.3 + 1.4 * (method.generator.network(z) + 0.5 * noise)

        negatives = made().detach() + 0.2
        torch.testing.assert_close(starts[1], negatives - 0.2, atol=1e-6, rtol=1e-5), "of the generator as it then is"
        method.load_state_dict(before)
        torch.testing.assert_close(starts[0], made().detach(), atol=1e-6, rtol=1e-5)
        revised = starts[0] + 0.1
        loss = -reconstruction * self.log_given(method, batch, codes).mean() - revision * self.log_given(method, revised, z).mean()
        self.compare(grads["generator"], loss, method.generator.network)
        loss = -reconstruction * self.log_inferred(method, batch, codes).mean() - generated * self.log_inferred(method, revised, z).mean()
        self.compare(grads["inference"], loss, method.inference.network)
        self.compare(grads["learner"], method.live(batch).mean() - method.live(negatives).mean(), method.live)
        assert any(not torch.equal(before[key], after[key]) for key in before)

    def test_of_cooperative_learning(self, shape, monkeypatch):
        method, _, starts, before = self.prepared("cooperative", shape, monkeypatch)
        batch = examples(shape)
        method.training_step(batch, torch.Generator().manual_seed(3))
        assert len(starts) == 1 and int(method.inference.updates) == 0
        z = torch.randn(16, 2 + math.prod(shape), generator=torch.Generator().manual_seed(3))[:, :2]
        grads = {name: [g.clone() for g in gradients(getattr(method, name))] for name in ("generator", "learner")}
        method.load_state_dict(before)
        revised = starts[0] + 0.1
        self.compare(grads["generator"], -self.log_given(method, revised, z).mean(), method.generator.network)
        self.compare(grads["learner"], method.live(batch).mean() - method.live(revised).mean(), method.live)

    def test_of_the_divergence_triangle(self, shape, monkeypatch):
        plain = {"width": 8, **PLAIN}
        still = {"betas": [0.0, 0.9], "gradient_clip": None}
        method = family("divergence_triangle", shape, decoder=plain, encoder=plain, optimiser=still)
        for learner in (method.generator, method.inference):
            learner.config = learner.config.model_copy(update={"gradient_clip": None})
        before, batch = {key: value.clone() for key, value in method.state_dict().items()}, examples(shape)
        method.training_step(batch, torch.Generator().manual_seed(3))
        grads = {name: [g.clone() for g in gradients(getattr(method, name))] for name in ("generator", "inference", "learner")}
        method.load_state_dict(before)
        generator = torch.Generator().manual_seed(3)
        e, u = torch.randn(16, 2, generator=generator), torch.randn(16, 2 + math.prod(shape), generator=generator)
        z, noise = u[:, :2], u[:, 2:].view(16, *shape)
        x = 0.3 + 1.4 * (method.generator.network(z) + 0.5 * noise)
        mean, log_variance = method.inference.network((batch - 0.3) / 1.4).unbind(1)
        inferred = Normal(mean, (log_variance / 2).exp())
        divergence = torch.distributions.kl_divergence(inferred, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1)
        elbo = self.log_given(method, batch, mean + (log_variance / 2).exp() * e) - divergence
        loss = -elbo.mean() + method.live(x).mean() - self.log_inferred(method, x, z).mean()
        for name in ("generator", "inference"):
            network = getattr(method, name).network
            expected = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
            for one, other in zip(grads[name], expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
        self.compare(grads["learner"], method.live(batch).mean() - method.live(x.detach()).mean(), method.live)


SIZES = {"width": 16, "depth": 1, "learning_rate": 5e-3, "betas": [0.5, 0.9], "gain": 1.0}


def trained(name, mean, root, updates=700, **settings):
    """A member after updates on Gaussian data, with a quadratic energy and a generator that can be any Gaussian."""
    spec = DataSpec("gaussian", "vectors", (len(mean),), 0.1, 1.2, None, None, None, Path())
    given = {"batch_size": 512, "latent": len(mean), "noise": 0.3, "decoder": SIZES, "encoder": SIZES}
    given |= {"optimiser": {"learning_rate": 1e-2, "average_decay": 0.99}} | settings
    method = build(name, spec, given, 0, network=NetworkConfig(name=QuadraticNetwork.name), iterations=updates)
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        method.training_step(mean + torch.randn(512, len(mean), generator=generator) @ root.T, generator)
    return method, generator


# Where the generator follows samples whose chains have forgotten where they began it shrinks; see below.
@pytest.mark.parametrize(("name", "settings"), [("dual_mcmc", {"steps": 10, "revision": 0.02}), ("divergence_triangle", {})])
def test_learning_comes_to_the_data(name, settings):
    """The optimum is the data's law for the energy, for the generator, and for what is revised."""
    mean, root = torch.tensor([0.7, -0.4, 0.2]), torch.tensor([[1.2, 0, 0], [0.5, 0.8, 0], [-0.3, 0.2, 1.0]])
    method, generator = trained(name, mean, root, **settings)
    covariance = root @ root.T
    found_mean, found_covariance = gaussian_of(method.energy_function(), (3,))
    torch.testing.assert_close(found_mean.float(), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(found_covariance.float(), covariance, atol=0.25, rtol=0)
    for drawn in (method.own_samples(4_000, generator), method.generator_samples(4_000, generator)):
        torch.testing.assert_close(drawn.x.mean(0), mean, atol=0.15, rtol=0)
        torch.testing.assert_close(drawn.x.T.cov(), covariance, atol=0.35, rtol=0)


def test_a_generator_that_sees_no_data_keeps_what_chains_remember():
    """On one Gaussian chains forget g(z) by a factor, so that all of z goes; the energy makes up for starts too narrow.

    Of coordinate i chains of Langevin dynamics keep a = (1 - ε²/2v)ᵏ of where they began, v being the variance of the energy's law. Then
    a²σ² + (1 - a²) v / (1 - ε²/4v) is the variance of what is revised, which learning makes the data's.
    """
    mean, deviations, epsilon, steps, noise = torch.tensor([0.5, -0.5]), torch.tensor([1.0, 0.85]), 0.4, 8, 0.3 * 1.2
    kernel = {"name": "ula", "settings": {"step_size": epsilon}}
    method, generator = trained("cooperative", mean, deviations.diag(), updates=1200, kernel=kernel, steps=steps)

    def excess(v, target):
        kept = (1 - epsilon**2 / (2 * v)) ** (2 * steps)
        return kept * noise**2 + (1 - kept) * v / (1 - epsilon**2 / (4 * v)) - target

    expected = torch.tensor([brentq(excess, 0.2, 20.0, args=(float(d) ** 2,)) for d in deviations])
    assert (expected > 1.1 * deviations**2).all()
    found_mean, found_covariance = gaussian_of(method.energy_function(), (2,))
    torch.testing.assert_close(found_mean.float(), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(found_covariance.float(), expected.diag(), atol=0.15, rtol=0)
    torch.testing.assert_close(method.own_samples(4_000, generator).x.T.cov(), deviations.square().diag(), atol=0.1, rtol=0)
    torch.testing.assert_close(method.generator_samples(4_000, generator).x.T.cov(), noise**2 * torch.eye(2), atol=0.05, rtol=0)


@pytest.mark.parametrize("start", ["inference", "prior"])
def test_without_an_inference_model_nothing_teaches_it(start):
    method = family("dual_mcmc", (3,), posterior_start=start)
    method.training_step(examples((3,)), torch.Generator().manual_seed(0))
    assert int(method.inference.updates) == (start == "inference") and method.infers == (start == "inference")
    assert int(method.generator.updates) == int(method.learner.updates) == 1


@pytest.mark.parametrize("again", [True, False])
def test_negatives_are_revised_once_more_or_are_the_generator_s(again):
    method = family("dual_mcmc", (3,), revise_negatives=again)
    assert method.gradient_evaluations_per_step == 16 * ((1 + again) * method.kernel.cost(method.config.steps) + 2)
    runs = []
    revised = method.revised
    method.revised = lambda *arguments: runs.append(1) or revised(*arguments)
    method.training_step(examples((3,)), torch.Generator().manual_seed(0))
    assert len(runs) == 1 + again


def test_negatives_without_a_revision_are_what_the_generator_then_makes(monkeypatch):
    method = family("dual_mcmc", (3,), revise_negatives=False)
    seen, contrast = [], method.contrast
    monkeypatch.setattr(method, "contrast", lambda batch, negatives, *rest: seen.append(negatives) or contrast(batch, negatives, *rest))
    method.training_step(examples((3,)), torch.Generator().manual_seed(3))
    u = torch.randn(16, 5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(seen[0], method.models(False).carried(u).detach())


def test_what_nothing_teaches_is_not_counted():
    counts = {
        start: sum(p.numel() for p in family("dual_mcmc", (3,), posterior_start=start).parameters() if p.requires_grad)
        for start in ("inference", "prior")
    }
    encoder = family("dual_mcmc", (3,)).inference.network
    assert counts["inference"] - counts["prior"] == sum(p.numel() for p in encoder.parameters())


def test_the_triangle_takes_no_step_of_a_chain():
    codes = family("divergence_triangle", (3,)).latent_codes()
    assert codes.steps == 0 and codes.infers
    assert family("dual_mcmc", (3,)).latent_codes().steps == 10


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("dual_mcmc", {"posterior_kernel": {"name": "nuts", "settings": {"step_size": 0.1}}}, "nuts would mix up which"),
        ("cooperative", {"decoder": {"architecture": "conv", "normalisation": "batch"}}, "mala cannot accept or reject it"),
        ("vae", {"decoder": {"architecture": "conv", "normalisation": "batch"}}, "would depend on the batch"),
    ],
)
def test_chains_that_would_not_be_those_of_one_energy_each_are_refused(name, settings, said):
    kept = {"posterior_kernel": {"name": "mala", "settings": {"step_size": 0.1}}} if name == "cooperative" else {}
    with pytest.raises(ValueError, match=said):
        build(name, spec_of((1, 4, 4)), {"batch_size": 16} | kept | settings, 0, network=NetworkConfig(name="mlp", settings={"width": 8}))
