"""SVHN, on small files of exactly the format that MATLAB and its authors wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from ebmpipe.data.base import NEVER_RUN
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.prepared import Prepared
from ebmpipe.data.splitting import Splitting
from ebmpipe.data.svhn import FILES, SVHN, read_mat
from ebmpipe.preparing import prepare

COUNTS = dict(zip(FILES, (50, 12), strict=True))
RNG = np.random.default_rng(0)
SOURCE = {
    name: {"X": RNG.integers(256, size=(32, 32, 3, n), dtype=np.uint8), "y": (RNG.permutation(n) % 10 + 1).astype(np.uint8)[:, None]}
    for name, n in COUNTS.items()
}


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two files, small, and the set with their sizes and checksums."""
    folder = tmp_path / "raw" / "svhn"
    folder.mkdir(parents=True)
    checksums = {}
    for name, arrays in SOURCE.items():
        savemat(folder / name, arrays, do_compression=True)
        checksums[name] = "md5:" + hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(SVHN, "checksums", checksums)
    monkeypatch.setattr(SVHN, "sizes", {"train": 43, "validation": 7, "test": 12})
    monkeypatch.setattr("ebmpipe.data.svhn.TOGETHER", 8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "raw"


def test_images_and_labels_come_out_whole(raw: Path, tmp_path: Path) -> None:
    card = prepare("svhn", tmp_path / "out", raw)
    assert card["counts"] == {"train": 43, "validation": 7, "test": 12} and card["remarks"] == [NEVER_RUN]
    data = Prepared(tmp_path / "out")
    test = SOURCE["test_32x32.mat"]
    np.testing.assert_array_equal(data.split("test"), test["X"].transpose(3, 2, 0, 1))
    assert data.split("test")[5, 2, 3, 4] == test["X"][3, 4, 2, 5]  # image 5, blue, row 3, column 4
    np.testing.assert_array_equal(data.labels("test"), np.where(test["y"][:, 0] == 10, 0, test["y"][:, 0]))
    train = SOURCE["train_32x32.mat"]
    found = [
        (image.tobytes(), label)
        for split in ("train", "validation")
        for image, label in zip(data.split(split), data.labels(split), strict=True)
    ]
    expected = [(np.ascontiguousarray(train["X"][..., i].transpose(2, 0, 1)).tobytes(), train["y"][i, 0] % 10) for i in range(50)]
    assert sorted(found) == sorted(expected) and found != expected


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_the_published_one_is_refused(raw: Path, tmp_path: Path, name: str) -> None:
    savemat(raw / "svhn" / name, SOURCE[name], do_compression=False)
    with pytest.raises(UnusableRawData, match=f"{name} is not the published file: its MD5 is .*left as it is: replace it, or remove it"):
        prepare("svhn", tmp_path / "out", raw)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"y": SOURCE[FILES[0]]["y"]}, "X is missing"),
        ({"X": SOURCE[FILES[0]]["X"][..., :9], "y": SOURCE[FILES[0]]["y"]}, r"X is uint8 of shape \(32, 32, 3, 9\), not uint8 of shape"),
        ({"X": SOURCE[FILES[0]]["X"].astype(float), "y": SOURCE[FILES[0]]["y"]}, "X is float64 of shape"),
        ({"X": SOURCE[FILES[0]]["X"], "y": SOURCE[FILES[0]]["y"] + np.uint8(1)}, "labels leave the range 1 to 10"),
    ],
)
def test_other_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], complaint: str) -> None:
    savemat(tmp_path / "x.mat", arrays)
    with pytest.raises(UnusableRawData, match=complaint):
        read_mat(tmp_path / "x.mat", 50)


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x89HDF\r\n\x1a\n" + bytes(600), b"MATLAB 5.0 MAT-file" + bytes(600)]
)
def test_what_is_no_such_file_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UnusableRawData, match=r"x\.mat"):
        read_mat(tmp_path / "x.mat", 50)


def test_a_split_does_not_depend_on_how_the_source_is_read() -> None:
    sizes = {"train": 31, "validation": 9, "test": 5}
    images, labels = np.arange(45, dtype=np.uint8).reshape(45, 1, 1, 1), np.arange(45)
    found = []
    for step in (45, 7, 1):
        arrays = {split: np.full(n, 255) for split, n in sizes.items()} | {f"{split}_labels": np.full(n, 255) for split, n in sizes.items()}
        for first in range(0, 45, step):
            for key, rows, values in Splitting("x", sizes).parts(first, images[first : first + step], labels[first : first + step]):
                arrays[key][rows] = values.reshape(-1)
        found.append(arrays)
    for arrays in found:
        for split in sizes:
            np.testing.assert_array_equal(arrays[split], found[0][split])
            np.testing.assert_array_equal(arrays[split], arrays[f"{split}_labels"])
    assert sorted(np.concatenate([found[0]["train"], found[0]["validation"]])) == list(range(40))
    assert found[0]["test"].tolist() == list(range(40, 45))
    assert found[0]["train"].tolist() != list(range(31))
