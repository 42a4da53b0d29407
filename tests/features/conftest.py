"""Small sets of images, networks that are trained for a moment, and made-up weights of the Inception network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe import registry
from ebmpipe.features import inception
from ebmpipe.features.base import FeatureNetwork
from ebmpipe.files import sha256, write_arrays, write_signed

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


def squares(folder: Path, shape: tuple[int, ...] = (1, 8, 8), classes: int | None = 10, levels: int = 256, n: int = 40) -> Path:
    """A prepared set of noise images."""
    rng = np.random.default_rng(0)
    splits = ("train", "validation", "test")
    arrays = {split: rng.integers(levels, size=(n, *shape), dtype=np.uint8) for split in splits}
    if classes is not None:
        arrays |= {f"{split}_labels": rng.integers(classes, size=n) for split in splits}
    write_arrays(folder / "data.safetensors", arrays)
    card = {
        "name": "squares",
        "kind": "images",
        "shape": shape,
        "mean": 0.0,
        "std": 0.6,
        "levels": levels,
        "classes": classes,
        "entropy": None,
    }
    write_signed(folder / "card.json", {**card, "revision": 1, "data_sha256": sha256(folder / "data.safetensors")})
    return folder


def images(n: int, shape: tuple[int, ...] = (1, 8, 8), reach: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(-reach, reach, (n, *shape))


@pytest.fixture(scope="session")
def make_squares() -> Callable[..., Path]:
    return squares


@pytest.fixture(scope="session")
def make_images() -> Callable[..., np.ndarray]:
    return images


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights of this machine."""
    monkeypatch.delenv("EBMPIPE_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights for the Inception network that keep the scale of what passes through it, in a file of the published name."""
    if inception.package_folder() is None:
        pytest.skip("torch-fidelity is not installed: `make environment`")
    module, built = inception.extractor_module(), []
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        # Its constructor ends with loading weights, of which there are none yet.
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, _: built.append(self))
        torch.manual_seed(0)
        module.FeatureExtractorInceptionV3("inception", ["2048"])
        for layer in built[0].modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    path = tmp_path_factory.mktemp("weights") / inception.WEIGHTS.file
    torch.save(built[0].state_dict(), path)
    return path


@pytest.fixture
def inception_weights(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up weights, taken for the published ones."""
    checksum = hashlib.sha256(random_weights.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "WEIGHTS", replace(inception.WEIGHTS, sha256=checksum))
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", str(random_weights.parent))
    return random_weights


@pytest.fixture(params=registry.names("features"))
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FeatureNetwork:
    """Every member: trained ones for a moment only, published ones with made-up weights."""
    member: FeatureNetwork = registry.load("features", request.param)()
    if member.published:
        request.getfixturevalue("inception_weights")
    else:
        settings = type(member).settings  # type: ignore[attr-defined]
        monkeypatch.setitem(settings, "steps", 5)
        monkeypatch.setitem(settings, "epochs", 0)
    return member
