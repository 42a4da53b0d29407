"""The feature network: what it reaches, what it writes, and that features depend on nothing but the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebmpipe.data.prepared import Prepared
from ebmpipe.features import lenet
from ebmpipe.features.base import FeatureSpace
from ebmpipe.files import read_signed, sha256, write_arrays, write_signed
from ebmpipe.metrics.base import Evaluation
from ebmpipe.metrics.frechet import Frechet
from ebmpipe.preparing import prepare


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare("digits", folder)
    return folder


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("features") / "digits"
    return out, lenet.train_extractor(digits, out, 0)


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lenet.SETTINGS, "steps", 5)
    monkeypatch.setitem(lenet.SETTINGS, "epochs", 0)


def images(n: int, shape: tuple[int, ...] = (1, 8, 8)) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, *shape))


def test_digits_are_recognised(trained: tuple[Path, dict[str, Any]]) -> None:
    out, card = trained
    assert card["accuracy"]["test"] >= 0.95
    assert set(card["accuracy"]) == {"train", "validation", "test"}
    assert card["dimension"] == 32
    assert card["weights_sha256"] == sha256(out / "lenet.safetensors")
    assert card == read_signed(out / "lenet.json")
    assert sorted(path.name for path in out.iterdir()) == ["lenet.json", "lenet.safetensors"]


def test_features_are_standardised_and_of_full_rank(digits: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    x = Prepared(digits).model_space("train", np.random.default_rng(3))
    features = lenet.load_extractor(trained[0])(x)
    assert features.shape == (len(x), 32)
    assert features.dtype == np.float64
    assert features.mean(axis=0) == pytest.approx(np.zeros(32), abs=0.05)
    assert features.std(axis=0) == pytest.approx(np.ones(32), abs=0.05)
    assert np.linalg.eigvalsh(np.cov(features.T))[0] > 1e-6


def test_features_do_not_depend_on_the_batch(trained: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    extract, x = lenet.load_extractor(trained[0]), images(150)
    together = extract(x)
    one_by_one = np.concatenate([extract(x[i : i + 1]) for i in range(len(x))])
    monkeypatch.setattr(lenet, "CHUNK", 7)
    assert one_by_one == pytest.approx(together, abs=1e-10)
    assert extract(x) == pytest.approx(together, abs=1e-10)


def test_the_seed_determines_the_weights(digits: Path, tmp_path: Path, briefly: None) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    cards = [lenet.train_extractor(digits, tmp_path / str(i), seed) for i, seed in enumerate((0, 0, 1))]
    assert cards[0]["weights_sha256"] == cards[1]["weights_sha256"] != cards[2]["weights_sha256"]
    assert torch.equal(torch.random.get_rng_state(), state), "torch's global stream was touched"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_other_image_shapes(tmp_path: Path, briefly: None, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    arrays = {split: rng.integers(256, size=(40, *shape), dtype=np.uint8) for split in ("train", "validation", "test")}
    arrays |= {f"{split}_labels": rng.integers(10, size=40) for split in ("train", "validation", "test")}
    write_arrays(tmp_path / "data.safetensors", arrays)
    card = {"name": "squares", "kind": "images", "shape": shape, "mean": 0.0, "std": 0.6, "levels": 256, "classes": 10, "entropy": None}
    write_signed(tmp_path / "card.json", {**card, "revision": 1, "data_sha256": sha256(tmp_path / "data.safetensors")})
    lenet.train_extractor(tmp_path, tmp_path / "features", 0)
    features = lenet.load_extractor(tmp_path / "features")(images(10, shape))
    assert features.shape == (10, 32)
    assert np.isfinite(features).all()


def test_damaged_or_missing_weights_are_refused(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; make it with `ebmpipe features`"):
        lenet.load_extractor(tmp_path)
    content = bytearray((trained[0] / "lenet.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "lenet.safetensors").write_bytes(content)
    (tmp_path / "lenet.json").write_text((trained[0] / "lenet.json").read_text())
    with pytest.raises(ValueError, match=r"is not the file that lenet\.json describes"):
        lenet.load_extractor(tmp_path)


def test_other_events_are_refused(trained: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="events of shape"):
        lenet.load_extractor(trained[0])(images(3, (1, 28, 28)))


def test_data_without_classes_are_refused(tmp_path: Path) -> None:
    prepare("eight_gaussians", tmp_path)
    with pytest.raises(ValueError, match="labelled images"):
        lenet.train_extractor(tmp_path, tmp_path / "out", 0)


def test_frechet_distance_tells_digits_from_noise(
    digits: Path, trained: tuple[Path, dict[str, Any]], pictures: Callable[..., Evaluation], space: Callable[..., FeatureSpace]
) -> None:
    data, rng = Prepared(digits), np.random.default_rng(0)
    test, other = data.model_space("test", rng), data.model_space("validation", rng)
    noise = data.spec.mean + data.spec.std * rng.standard_normal(test.shape)
    lenet_space = space(lenet.load_extractor(trained[0]), dimension=32)
    evaluation = pictures(spec=data.spec, test=test, samples={"data": other, "noise": noise}, primary="data", feature_spaces=(lenet_space,))
    rows = {row.metric: row.value for row in Frechet().compute(evaluation)}
    assert rows["frechet_lenet"] < 5 < rows["frechet_lenet@noise"]
