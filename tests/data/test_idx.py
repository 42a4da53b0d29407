"""The idx format of MNIST, on small files of exactly that format."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ebmpipe import registry
from ebmpipe.cli import app
from ebmpipe.data import idx
from ebmpipe.data.fashion_mnist import FashionMNIST
from ebmpipe.data.fetching import UnusableRawData, default_raw_folder
from ebmpipe.data.idx import IdxImages
from ebmpipe.data.mnist import MNIST


def test_arrays_are_read_and_split(raw: Path, small: type[IdxImages]) -> None:
    arrays = small().arrays(raw)
    whole = idx.parse(gzip.decompress((raw / "small" / f"{idx.IMAGES['train']}.gz").read_bytes()))
    both = np.concatenate([arrays["train"], arrays["validation"]])[:, 0]
    assert arrays["train"].shape == (30, 1, 28, 28)
    assert arrays["test"].shape == (8, 1, 28, 28)
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in whole)
    labels = idx.parse(gzip.decompress((raw / "small" / f"{idx.LABELS['train']}.gz").read_bytes()))
    first = next(i for i, image in enumerate(whole) if (image == arrays["train"][0, 0]).all())
    assert arrays["train_labels"][0] == labels[first]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "first bytes, none, do not begin"),
        (b"\0\0\x08", "do not begin an idx file"),
        (b"\0\0\x08\0", "do not begin an idx file"),
        (b"\0\0\x0d\1" + bytes(8), "first bytes, 00 00 0d 01, do not begin"),
        (b"\0\0\x08\3" + bytes(4), "do not begin an idx file"),
        (b"\0\0\x08\1" + struct.pack(">I", 5) + bytes(4), "announces 5 values, but 4 follow"),
        (b"\0\0\x08\2" + struct.pack(">2I", 2**31, 2**31) + bytes(4), "announces 2147483648x2147483648 values, but 4 follow"),
    ],
)
def test_bytes_that_are_no_idx_file_are_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(UnusableRawData, match=complaint):
        idx.parse(content)


def test_published_files_of_another_size_are_refused(raw: Path, small: type[IdxImages], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "sizes", {"train": 30, "validation": 11, "test": 8})
    with pytest.raises(UnusableRawData, match="small, train-images-idx3-ubyte: it holds 40 examples, not 41"):
        small().arrays(raw)


def test_missing_files_without_mirrors_are_named_with_what_to_do(small: type[IdxImages], cache: Path) -> None:
    with pytest.raises(UnusableRawData, match=rf"small needs train-images.*not in /nowhere/small, {cache}.*EBMPIPE_DATA_DIR"):
        small().arrays(Path("/nowhere"))


@pytest.mark.parametrize("member", [MNIST, FashionMNIST])
def test_offline_the_message_says_what_to_do_by_hand(member: type[IdxImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(member, "raw_folders", ("here",))
    with pytest.raises(UnusableRawData) as caught:
        member().arrays(tmp_path / "raw")
    message = str(caught.value)
    assert f"{member.name} needs train-images-idx3-ubyte, and downloading it failed (EBMPIPE_OFFLINE is set)" in message
    assert all(f"{mirror}train-images-idx3-ubyte.gz" in message for mirror in member.mirrors) and len(member.mirrors) > 1
    assert message.endswith(f"put it into {tmp_path / 'raw' / 'here'}")
    assert not any(tmp_path.iterdir())


def test_where_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache, debian = tmp_path / "ebmpipe", Path("/usr/share/datasets/fashion-mnist")
    assert MNIST.folders(None) == [cache / "mnist", cache]
    assert MNIST.folders(Path("raw")) == [Path("raw/mnist"), Path("raw"), cache / "mnist", cache]
    assert FashionMNIST.folders(Path("raw"))[0] == Path("raw/fashion-mnist")
    assert FashionMNIST.folders(None) == [cache / "fashion-mnist", cache / "fashion_mnist", debian]
    assert MNIST.folders(cache) == [cache / "mnist", cache]
    for value in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_raw_folder() == Path.home() / ".cache" / "ebmpipe"


def test_the_first_folder_wins_and_gzip_is_known_by_its_bytes(raw: Path, cache: Path, small: type[IdxImages]) -> None:
    name = idx.LABELS["train"]
    zipped = raw / "small" / f"{name}.gz"
    (cache / "small").mkdir(parents=True)
    (cache / "small" / name).write_bytes(b"damaged, but never looked at")
    before = small().arrays(raw)["train_labels"]
    zipped.rename(zipped.with_suffix(""))  # still gzipped, though its name says otherwise
    np.testing.assert_array_equal(small().arrays(raw)["train_labels"], before)


def test_whereabouts(raw: Path, cache: Path, small: type[IdxImages], monkeypatch: pytest.MonkeyPatch) -> None:
    assert small.whereabouts(raw) == f"in {raw / 'small'}"
    assert small.whereabouts(None) == "raw files missing"
    (raw / "small" / idx.LABELS["test"]).unlink()
    assert small.whereabouts(raw) == f"{idx.LABELS['test']} missing"
    monkeypatch.setattr(small, "mirrors", ("http://nowhere/",))
    assert small.whereabouts(raw) == f"{idx.LABELS['test']} to be downloaded when prepared"
    assert registry.load("data", "digits").whereabouts(raw) == "built in"


def test_the_command_lists_where_each_is(raw: Path, cache: Path) -> None:
    (raw / "mnist").mkdir()
    for name in MNIST.raw_choices[0]:
        (raw / "mnist" / f"{name}.gz").write_bytes(b"only looked at by name")
    done = CliRunner().invoke(app, ["datasets", "--raw", str(raw)])
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["mnist"].endswith(f"MNIST            in {raw / 'mnist'}")
    assert lines["two_moons"].endswith("Two moons        built in")


def test_looking_for_files_imports_neither_numpy_nor_torch() -> None:
    code = "import sys; from ebmpipe.data.fetching import folders; print(folders(['a'], None), *{'numpy', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(")]\n")
