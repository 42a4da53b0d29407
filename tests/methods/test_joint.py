"""Joint energy-classifier training: what its gradient is, where it comes to rest, and that it learns."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import nn

from ebmpipe.batches import Batches
from ebmpipe.config import NetworkConfig, RunConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import GaussianLaw
from ebmpipe.loading import load_run
from ebmpipe.methods import build
from ebmpipe.methods.base import NoClassifier
from ebmpipe.methods.contrastive import Negatives
from ebmpipe.nets.base import HeadedNetwork, NetworkSettings
from ebmpipe.runs import RunFolder
from ebmpipe.samplers import Summary
from ebmpipe.samplers.base import State
from ebmpipe.spec import DataSpec
from ebmpipe.training import train

SMALL = NetworkConfig(settings={"width": 16})
CLASSES = 3
SPECS = {
    "line": DataSpec("made_up", "vectors", (1,), 0.3, 0.8, None, CLASSES, None, Path()),
    "plane": DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, CLASSES, None, Path()),
    "image": DataSpec("made_up", "images", (1, 4, 4), -0.2, 0.6, 17, CLASSES, None, Path()),
}


def made(spec, network=SMALL, **settings):
    method = build("pcd", spec, {"cross_entropy": 1.0, "batch_size": 8, "chains": 8} | settings, network=network, iterations=50)
    return method.double()


def negatives_at(x, weights=None):
    return Negatives(x, Summary(1, 0, 1.0, 1.0, 0.0, 1.0, State(x)), weights=weights)


def gradients_of_update(method, batch, labels, negatives, monkeypatch):
    """The gradient, in every weight, of the loss that one update minimises with given negatives."""
    found = []

    def caught(loss, energies, x):
        found.append(torch.autograd.grad(loss, list(method.live.parameters())))
        return {"loss": loss.detach()}

    monkeypatch.setattr(method, "update", caught)
    monkeypatch.setattr(method, "negatives", lambda batch, generator: negatives)
    monkeypatch.setattr(method, "keep", lambda batch, negatives: {})
    report = method.labelled_step(batch, labels, torch.Generator())
    return found[0], report


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_with_exact_negatives_the_gradient_is_that_of_the_joint_likelihood(spec, temperature, monkeypatch):
    """On finitely many points, where the model's expectation is a sum: T (-∂ log p(x)) - w ∂ log p(y | x), both by autograd."""
    kernel = {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.2 * math.sqrt(temperature)}}
    method = made(spec, kernel=kernel, cross_entropy=0.7)
    assert method.temperature == pytest.approx(temperature)
    generator = torch.Generator().manual_seed(0)
    space = torch.randn(20, *spec.shape, generator=generator, dtype=torch.float64)
    batch, labels = space[:8], torch.randint(CLASSES, (8,), generator=generator)
    energies, logits = method.live.with_logits(space)
    log_z = (-energies / temperature).logsumexp(0)
    of_x = (energies[:8] / temperature + log_z).mean()
    of_y = -(logits[:8].log_softmax(1)[torch.arange(8), labels]).mean()
    expected = torch.autograd.grad(temperature * of_x + 0.7 * of_y, list(method.live.parameters()))
    weights = (-energies.detach() / temperature).softmax(0)
    found, report = gradients_of_update(method, batch, labels, negatives_at(space, weights), monkeypatch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert float(report["cross_entropy"]) == pytest.approx(float(of_y.detach()))
    assert float(report["training_accuracy"]) == float((logits[:8].argmax(1) == labels).double().mean())


class LinearConfig(NetworkSettings):
    """No settings."""

    unused: int = Field(0, description="nothing")


class Linear(HeadedNetwork):
    """Logits that are linear in x: on a Gaussian base the classes are Gaussians of its width."""

    name, revision, kinds, Config = "linear", 1, frozenset({"vectors"}), LinearConfig

    def __init__(self, shape, config, classes=None):
        super().__init__(shape, config, classes)
        self.head = nn.Linear(shape[0], self.outputs)

    def features(self, x):
        return x


def test_the_optimum_of_gaussian_classes_is_known(monkeypatch):
    """exp(l_y) q with l_y = w_y·x + b_y and q = N(0, σ²I) is π_y N(σ² w_y, σ² I) with log π_y = b_y + σ² |w_y|²/2 up to a constant.

    There the gradient is zero in expectation, and away from it, it is not.
    """
    spec = DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, CLASSES, None, Path())
    method = made(spec, NetworkConfig(name=f"{__name__}:Linear"))
    variance = GaussianLaw.of(spec).std ** 2
    means = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    share = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    n = 40_000

    def drawn():
        labels = torch.multinomial(share, n, replacement=True, generator=generator)
        return means[labels] + math.sqrt(variance) * torch.randn(n, 2, generator=generator, dtype=torch.float64), labels

    (x, labels), (negatives, _) = drawn(), drawn()
    head = method.live.network.head
    with torch.no_grad():
        head.weight.copy_(means / variance)
        head.bias.copy_(share.log() - means.square().sum(1) / (2 * variance))
    found, _ = gradients_of_update(method, x, labels, negatives_at(negatives), monkeypatch)
    assert all(float(one.abs().max()) < 6 * 2 / math.sqrt(n) for one in found)
    posterior = method.live.with_logits(x)[1].softmax(1)
    exact = (share.log() - (x[:, None] - means).square().sum(2) / (2 * variance)).softmax(1)
    torch.testing.assert_close(posterior, exact)
    with torch.no_grad():
        head.weight.mul_(2.0)
    found, _ = gradients_of_update(method, x, labels, negatives_at(negatives), monkeypatch)
    assert float(found[0].abs().max()) > 0.1


def test_classes_are_learned_along_with_the_energy(prepared):
    """A few hundred small updates: far above the chance of a tenth, and probabilities better than none."""
    data = Prepared(prepared["digits"])
    settings = {"cross_entropy": 3.0, "batch_size": 50, "chains": 50, "steps": 5, "optimiser": {"learning_rate": 3e-3}}
    method = build("pcd", data.spec, settings, network=NetworkConfig(settings={"width": 32}), iterations=200)
    batches, generator = Batches(data, 50, 0, "cpu", labelled=True), torch.Generator().manual_seed(0)
    x = torch.from_numpy(data.model_space("test", np.random.default_rng(0))).float()
    labels = torch.from_numpy(data.labels("test"))
    before = method.class_probabilities(x)
    for step in range(200):
        batch = method.smoothed(batches.at(step, generator), method.noise_level, generator)
        report = method.labelled_step(batch, batches.labels_at(step), generator)
    after = method.class_probabilities(x)
    accuracies = [float((p.argmax(1) == labels).double().mean()) for p in (before, after)]
    assert accuracies[0] < 0.4 and accuracies[1] > 0.8
    assert after.shape == (400, 10) and after.dtype == torch.float64
    torch.testing.assert_close(after.sum(1), torch.ones(400, dtype=torch.float64))
    assert float(-after[torch.arange(400), labels].log().mean()) < 0.7 * math.log(10)
    assert float(report["training_accuracy"]) > 0.6
    noise = method.base.sample(400, generator)
    with torch.no_grad():
        assert (method.energy(noise) - method.base(noise)).mean() > (method.energy(x) - method.base(x)).mean()


def test_labels_go_with_their_examples(prepared):
    data = Prepared(prepared["digits"])
    batches = Batches(data, 64, 7, "cpu", labelled=True)
    images, labels = data.split("train"), data.labels("train")
    for step in (0, 3, 40):
        levels = ((batches.at(step, torch.Generator().manual_seed(0)) + 1) * 17 / 2).floor().to(torch.uint8).numpy()
        for image, label in zip(levels[:10], batches.labels_at(step)[:10], strict=True):
            same = (images == image).all(axis=(1, 2, 3))
            assert int(label) in labels[same]
    with pytest.raises(ValueError, match="without labels"):
        Batches(data, 64, 7, "cpu").labels_at(0)


def test_what_is_not_labelled_is_refused():
    unlabelled = DataSpec("made_up", "vectors", (2,), 0.0, 1.0, None, None, None, Path())
    with pytest.raises(ValueError, match="cross_entropy trains a classifier, and made_up has no labels"):
        made(unlabelled)
    with pytest.raises(ValueError, match="learns from labels"):
        made(SPECS["plane"]).training_step(torch.zeros(8, 2), torch.Generator())
    without = build("pcd", SPECS["plane"], network=SMALL)
    assert not without.classifies
    with pytest.raises(NoClassifier, match="pcd learns no classes"):
        without.class_probabilities(torch.zeros(2, 2))


def test_a_run_is_trained_and_loaded_with_its_classifier(prepared, tmp_path):
    settings = {"batch_size": 16, "chains": 32, "steps": 2, "cross_entropy": 2.0}
    given = {"dataset": "digits", "label": "jem", "method": "pcd", "settings": settings, "network": {"settings": {"width": 8}}}
    config = RunConfig.model_validate(given | {"gradient_evaluations": 64 * 20})
    folder = train(config, prepared["digits"], tmp_path, "cpu")
    assert {"cross_entropy", "training_accuracy"} <= set((folder / "history.csv").read_text().splitlines()[0].split(","))
    assert folder.ledger["gradient_evaluations"] == folder.ledger["step"] * 16 * 4, "the classifier's gradient costs none of its own"
    method = load_run(folder, Prepared(prepared["digits"]), "cpu")
    assert method.classifies
    assert method.class_probabilities(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_what_is_refused_leaves_no_folder_behind(prepared, tmp_path):
    """A classifier where there are no classes to learn; and a stage after training of a run that there is not."""
    config = RunConfig(dataset="eight_gaussians", label="jem", method="pcd", settings={"cross_entropy": 1.0})
    with pytest.raises(ValueError, match="eight_gaussians has no labels"):
        train(config, prepared["eight_gaussians"], tmp_path, "cpu")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="run `ebmpipe train`"), RunFolder.of(tmp_path, "digits", "jem", 0).locked():
        pass
    assert not list(tmp_path.iterdir())
