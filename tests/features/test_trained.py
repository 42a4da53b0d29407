"""Networks that are trained on a data set's own images: what they reach on real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.data.prepared import Prepared
from ebmpipe.features import trained
from ebmpipe.features.autoencoder import AutoencoderFeatures
from ebmpipe.features.lenet import LeNetFeatures
from ebmpipe.files import read_signed, sha256
from ebmpipe.metrics.frechet import frechet_distance

NETWORKS = {"lenet": LeNetFeatures, "autoencoder": AutoencoderFeatures}
Made = dict[str, tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def made(prepared: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every network in full, by its id: the folder and the card."""
    out = tmp_path_factory.mktemp("features") / "digits"
    return {name: (out, network().make(prepared["digits"], out, 0)) for name, network in NETWORKS.items()}


def test_digits_are_recognised(made: Made) -> None:
    out, card = made["lenet"]
    assert card["accuracy"]["test"] >= 0.95
    assert set(card["accuracy"]) == {"train", "validation", "test"}
    assert card["weights_sha256"] == sha256(out / "lenet.safetensors")
    assert card == read_signed(out / "lenet.json")


def test_the_bottleneck_holds_most_of_an_unseen_digit(made: Made, prepared: dict[str, Path]) -> None:
    card, data = made["autoencoder"][1], Prepared(prepared["digits"])
    train, test = (data.model_space(split, np.random.default_rng(0)).reshape(-1, 64) for split in ("train", "test"))
    mean = train.mean(axis=0)
    assert card["mean_image_error"]["test"] == pytest.approx(((test - mean) ** 2).mean(), rel=0.01)
    assert set(card["reconstruction_error"]) == {"train", "validation", "test"}
    assert card["reconstruction_error"]["test"] < 0.1 * card["mean_image_error"]["test"]
    # No linear map to so few numbers can do better on the data that it was fitted to: far below, the error would be miscounted.
    components = np.linalg.svd(train - mean, full_matrices=False)[2][: card["dimension"]]
    linear = (((train - mean) - (train - mean) @ components.T @ components) ** 2).mean()
    assert linear / 2 < card["reconstruction_error"]["train"] < 3 * linear


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_standardised_and_of_full_rank(made: Made, prepared: dict[str, Path], name: str) -> None:
    x = Prepared(prepared["digits"]).model_space("train", np.random.default_rng(3))
    features = NETWORKS[name]().load(made[name][0]).extract(x)
    assert features.mean(axis=0) == pytest.approx(np.zeros(32), abs=0.05)
    assert features.std(axis=0) == pytest.approx(np.ones(32), abs=0.05)
    assert np.linalg.eigvalsh(np.cov(features.T))[0] > 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_the_length_of_chunks_does_not_matter(made: Made, name: str, monkeypatch: pytest.MonkeyPatch, make_images: Any) -> None:
    extract, x = NETWORKS[name]().load(made[name][0]).extract, make_images(150)
    together = extract(x)
    monkeypatch.setattr(trained, "CHUNK", 7)
    assert extract(x) == pytest.approx(together, abs=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_frechet_distance_tells_digits_from_noise_and_noisy_digits(made: Made, prepared: dict[str, Path], name: str) -> None:
    data, rng = Prepared(prepared["digits"]), np.random.default_rng(0)
    test, other = data.model_space("test", rng), data.model_space("validation", rng)
    noisy = other + 0.3 * rng.standard_normal(other.shape)
    noise = data.spec.mean + data.spec.std * rng.standard_normal(test.shape)
    extract = NETWORKS[name]().load(made[name][0]).extract
    reference, *others = [(y.mean(axis=0), np.cov(y, rowvar=False)) for y in map(extract, (test, other, noisy, noise))]
    digits, noisy_digits, nothing = (frechet_distance(*one, *reference) for one in others)
    assert 1.5 * digits < noisy_digits < nothing / 5


def test_labels_are_not_needed(make_squares: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AutoencoderFeatures.settings, "steps", 5)
    unlabelled = make_squares(tmp_path / "data", classes=None)
    assert AutoencoderFeatures().make(unlabelled, tmp_path / "out", 0)["classes"] is None
    AutoencoderFeatures().load(tmp_path / "out")
    with pytest.raises(ValueError, match="lenet is trained on labelled images; squares has none"):
        LeNetFeatures().make(unlabelled, tmp_path / "out", 0)
    labelled = make_squares(tmp_path / "labelled")
    checksums = {AutoencoderFeatures().make(folder, tmp_path / "same", 0)["weights_sha256"] for folder in (unlabelled, labelled)}
    assert len(checksums) == 1, "labels have no say"
