"""The Inception network: torch-fidelity's own numbers, and weights that are checked before they are read.

The network is slow, six to nine images a second, so that few images go through it.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebmpipe.data.prepared import Prepared, to_model_space
from ebmpipe.features import inception
from ebmpipe.features.base import write_card
from ebmpipe.features.inception import InceptionFeatures, as_bytes, network_of, unavailable_reason
from ebmpipe.features.published import UnusableWeights
from ebmpipe.files import CorruptFile

Maker = Callable[..., Any]


def test_features_and_logits_are_those_of_torch_fidelity(inception_weights: Path, prepared: dict[str, Path], tmp_path: Path) -> None:
    InceptionFeatures().make(prepared["digits"], tmp_path, 0)
    space, data = InceptionFeatures().load(tmp_path), Prepared(prepared["digits"])
    x = data.model_space("test", np.random.default_rng(0))[:3]
    levels = np.repeat(np.rint(data.split("test")[:3] * (255 / 16)).astype(np.uint8), 3, axis=1)
    reference = inception.extractor_module().FeatureExtractorInceptionV3("reference", ["2048", "logits_unbiased"], str(inception_weights))
    features, logits = (value.double().numpy() for value in reference(torch.from_numpy(levels)))
    assert np.ptp(features, axis=0).max() > 0.01, "the made-up weights tell images apart"
    assert space.extract(x) == pytest.approx(features, rel=1e-6, abs=1e-6 * np.abs(features).max())
    assert space.logits is not None
    assert space.logits(x) == pytest.approx(logits, rel=1e-5, abs=1e-5 * np.abs(logits).max())
    assert space.logits(x).shape == (3, 1008)


def test_an_image_goes_through_the_network_once(inception_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def network(batch: torch.Tensor) -> tuple[torch.Tensor]:
        seen.append(len(batch))
        return (batch.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 2048),)

    pooled = inception.Pooled(network)
    x = np.random.default_rng(0).integers(256, size=(5, 3, 8, 8), dtype=np.uint8)
    first = pooled(x)
    assert np.array_equal(pooled(x[::-1]), first[::-1]) and seen == [1] * 5
    assert first[:, 0] == pytest.approx(x.mean(axis=(1, 2, 3)), rel=1e-6)
    monkeypatch.setattr(inception, "REMEMBERED", 3)
    assert np.array_equal(pooled(np.concatenate([x[:1] + 1, x])), np.concatenate([pooled(x[:1] + 1), first]))


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_quantising_undoes_dequantisation(levels: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(levels, size=(50, channels, 6, 6))
    expected = np.rint(values * 255 / (levels - 1))
    for u in (rng.random(values.shape), 0.5, 0.001, 0.999):
        found = as_bytes(to_model_space(values, levels, u), levels)
        assert found.dtype == np.uint8 and found.shape == (50, 3, 6, 6)
        assert np.array_equal(found, np.broadcast_to(expected, found.shape))
    assert found.min() == 0 and found.max() == 255


def test_values_between_and_beyond_the_levels_go_to_the_nearest() -> None:
    levels, x = 5, np.random.default_rng(0).uniform(-3, 3, (4, 1, 20, 20))
    middles = to_model_space(np.arange(levels), levels, 0.5)
    nearest = np.abs(x[..., None] - middles).argmin(-1)
    assert np.array_equal(as_bytes(x, levels)[:, :1], np.rint(nearest * 255 / 4))


@pytest.mark.parametrize("x", [np.full((1, 1, 4, 4), np.nan), np.full((1, 3, 4, 4), np.inf), np.zeros((1, 2, 4, 4)), np.zeros((3, 2))])
def test_what_is_no_image_is_refused(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the inception network takes"):
        as_bytes(x, 256)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_is_not_the_published_one_is_never_read(
    prepared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sprung = tmp_path / inception.WEIGHTS.file, tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, path)
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", str(tmp_path))
    for attempt in (lambda: InceptionFeatures().make(prepared["digits"], tmp_path / "out", 0), inception.WEIGHTS.content):
        with pytest.raises(UnusableWeights, match=f"{path} is not the published file.*replace it"):
            attempt()
    assert not (tmp_path / "out").exists()
    # Even of a file that had the checksum, nothing but tensors is read.
    with pytest.raises(pickle.UnpicklingError):
        network_of(path.read_bytes())
    assert not sprung.exists()
    torch.load(path, weights_only=False)
    assert sprung.exists(), "the trap works"


def test_without_weights_or_package_the_reason_says_what_to_do(
    prepared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", str(tmp_path / "mine"))
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / inception.BESIDE / inception.MODULE).mkdir(parents=True)
    monkeypatch.setattr(inception.sys, "prefix", str(tmp_path / "sys"))
    reason = unavailable_reason()
    assert reason is not None and "\n" not in reason
    for part in (inception.WEIGHTS.file, str(tmp_path / "mine"), str(tmp_path / "cache/ebmpipe/weights"), "--network inception --download"):
        assert part in reason
    with pytest.raises(ValueError, match="not available"):
        InceptionFeatures().make(prepared["digits"], tmp_path / "out", 0)
    assert str(tmp_path / "other") in str(unavailable_reason(tmp_path / "other"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / inception.WEIGHTS.file).write_bytes(b"")
    assert unavailable_reason() is None
    monkeypatch.setattr(inception, "MODULE", "no_such_package")
    assert "torch-fidelity is not installed" in str(unavailable_reason())


def test_the_card_does_not_say_where_the_weights_lie(
    inception_weights: Path, prepared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    InceptionFeatures().make(prepared["digits"], tmp_path / "first", 0)
    moved = tmp_path / "cache/ebmpipe/weights" / inception_weights.name
    moved.parent.mkdir(parents=True)
    moved.symlink_to(inception_weights)
    monkeypatch.delenv("EBMPIPE_WEIGHTS_DIR")
    InceptionFeatures().make(prepared["digits"], tmp_path / "second", 1)
    first, second = ((tmp_path / folder / "inception.json").read_bytes() for folder in ("first", "second"))
    assert first == second and inception.WEIGHTS.sha256.encode() in first
    write_card(tmp_path, "inception", {"weights_sha256": hashlib.sha256(b"").hexdigest()})
    with pytest.raises(CorruptFile, match="of other weights"):
        InceptionFeatures().load(tmp_path)
    moved.unlink()
    with pytest.raises(UnusableWeights, match="is in none of"):
        InceptionFeatures().load(tmp_path / "first")


def test_the_package_is_seen_by_nobody_else(random_weights: Path) -> None:
    inception.extractor_module()
    assert not [name for name in sys.modules if name.partition(".")[0] == "torch_fidelity"]
    assert "torchvision" not in sys.modules
    import torchmetrics  # which imports all of torch-fidelity, if it finds it

    assert torchmetrics.__version__


def test_the_checksum_is_that_in_the_published_name() -> None:
    weights = inception.WEIGHTS
    assert len(weights.sha256) == 64 and weights.file == f"weights-inception-2015-12-05-{weights.sha256[:8]}.pth"
    assert replace(weights, urls=()).file in weights.urls[0]
