"""The idx format of MNIST, on small files of exactly that format."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from ebmpipe.data import idx
from ebmpipe.data.fashion_mnist import FashionMNIST
from ebmpipe.data.idx import IdxImages, UnusableRawData
from ebmpipe.data.mnist import MNIST


def as_idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class Small(IdxImages):
    name, revision, title, source, licence = "small", 1, "Small", "made up", "none"
    raw_folders = ("small",)
    sizes = {"train": 30, "validation": 10, "test": 8}  # noqa: RUF012


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw folder with two files gzipped and two not."""
    rng, sums = np.random.default_rng(0), {}
    (tmp_path / "small").mkdir()
    for split, n in (("train", 40), ("test", 8)):
        arrays = {
            idx.IMAGES[split]: rng.integers(0, 256, (n, 28, 28), np.uint8),
            idx.LABELS[split]: rng.integers(0, 10, n).astype(np.uint8),
        }
        for name, array in arrays.items():
            content = as_idx(array)
            sums[name] = hashlib.sha256(content).hexdigest()
            zipped = split == "train"
            (tmp_path / "small" / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    monkeypatch.setattr(Small, "sha256", sums, raising=False)
    return tmp_path


def test_arrays_are_read_and_split(raw: Path) -> None:
    arrays = Small().arrays(raw)
    whole = idx.parse(gzip.decompress((raw / "small" / f"{idx.IMAGES['train']}.gz").read_bytes()))
    both = np.concatenate([arrays["train"], arrays["validation"]])[:, 0]
    assert arrays["train"].shape == (30, 1, 28, 28)
    assert arrays["test"].shape == (8, 1, 28, 28)
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in whole)
    labels = idx.parse(gzip.decompress((raw / "small" / f"{idx.LABELS['train']}.gz").read_bytes()))
    first = next(i for i, image in enumerate(whole) if (image == arrays["train"][0, 0]).all())
    assert arrays["train_labels"][0] == labels[first]


def test_a_changed_file_is_refused(raw: Path) -> None:
    path = raw / "small" / idx.IMAGES["test"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UnusableRawData, match="is not the published file"):
        Small().arrays(raw)


@pytest.mark.parametrize("keep", [0, 5, -20])
def test_a_truncated_archive_is_refused(raw: Path, keep: int) -> None:
    path = raw / "small" / f"{idx.IMAGES['train']}.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnusableRawData, match=r"train-images.*(cannot be unpacked|not the published)"):
        Small().arrays(raw)


@pytest.mark.parametrize("folder", [None, Path("/nowhere")])
def test_missing_files_are_named_with_what_to_do(folder: Path | None) -> None:
    with pytest.raises(UnusableRawData, match=r"mnist needs train-images.*EBMPIPE_DATA_DIR"):
        MNIST().arrays(folder)


def test_where_files_are_looked_for() -> None:
    assert MNIST.folders(None) == []
    assert MNIST.folders(Path("raw")) == [Path("raw/mnist"), Path("raw")]
    assert FashionMNIST.folders(None) == [Path("/usr/share/datasets/fashion-mnist")]
