"""A folder of the user's own images: prepared pixel for pixel, dealt out fairly, and refused in one line where it cannot be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import encoded, noise, write
from sklearn.datasets import load_digits

from ebmpipe.config import FilesConfig
from ebmpipe.data.base import SPLITS
from ebmpipe.data.idx import parse, unpack
from ebmpipe.data.mnist import MNIST
from ebmpipe.data.own import UnusableFiles
from ebmpipe.data.own_files import content_of, own
from ebmpipe.data.prepared import Prepared
from ebmpipe.preparing import ensure_prepared, prepare, repair


def files(path: Path, **settings: Any) -> dict[str, Any]:
    return FilesConfig.model_validate({"path": str(path), **settings}).model_dump(mode="json")


def prepared(path: Path, out: Path, **settings: Any) -> Prepared:
    prepare("mine", out, own=files(path, **settings))
    return Prepared(out, "mine")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits in 8 bits, (n, 1, 8, 8), and their labels."""
    pixels, labels = load_digits(return_X_y=True)
    return (pixels * 15).astype(np.uint8).reshape(-1, 1, 8, 8), labels


@pytest.fixture(scope="module")
def folder(digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as PNG files, a sub-folder for each."""
    root = tmp_path_factory.mktemp("own") / "digits"
    for number, (levels, label) in enumerate(zip(*digits, strict=True)):
        write(root / str(label) / f"{number:04}.png", levels)
    return root


def test_every_image_is_there_once_as_it_was_with_its_label(digits: tuple[np.ndarray, np.ndarray], folder: Path, tmp_path: Path) -> None:
    data = prepared(folder, tmp_path)
    known = {image.tobytes(): label for image, label in zip(*digits, strict=True)}
    found = {image.tobytes(): label for split in SPLITS for image, label in zip(data.split(split), data.labels(split), strict=True)}
    assert found == known and sum(data.card["counts"].values()) == len(known) == 1797
    assert data.card["counts"] == {"train": 1437, "validation": 180, "test": 180}
    assert (data.spec.kind, data.spec.shape, data.spec.levels, data.spec.classes) == ("images", (1, 8, 8), 256, 10)
    for split in SPLITS:
        share = np.bincount(data.labels(split)) / np.bincount(digits[1])
        np.testing.assert_allclose(share, len(data.split(split)) / 1797, atol=0.01)
    assert data.card["files"]["class_names"] == [str(label) for label in range(10)]


def test_mnist_comes_back_byte_for_byte(tmp_path: Path) -> None:
    raw = Path(os.environ.get("EBMPIPE_DATA_DIR", "")) / "mnist" / "t10k-images-idx3-ubyte.gz"
    if "EBMPIPE_DATA_DIR" not in os.environ or not raw.is_file():
        pytest.skip("MNIST is not at hand; set EBMPIPE_DATA_DIR to the folder of raw data")
    levels = parse(unpack(raw, MNIST.sha256["t10k-images-idx3-ubyte"]))[:600]
    for number, one in enumerate(levels):
        write(tmp_path / "mnist" / f"{number:05}.png", one)
    data = prepared(tmp_path / "mnist", tmp_path / "out", test=100, validation=50)
    assert data.spec.classes is None and {split: len(data.split(split)) for split in SPLITS} == {
        "train": 450,
        "validation": 50,
        "test": 100,
    }
    assert {one.tobytes() for split in SPLITS for one in data.split(split)} == {one.tobytes() for one in levels}


def test_preparing_is_deterministic_and_knows_no_place(folder: Path, tmp_path: Path) -> None:
    first = prepared(folder, tmp_path / "first")
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    again = prepared(moved, tmp_path / "again")
    assert first.card["data_sha256"] == again.card["data_sha256"] and first.card["files"]["sha256"] == again.card["files"]["sha256"]
    other = prepare("another", tmp_path / "other", own=files(folder))
    assert other["data_sha256"] != first.card["data_sha256"], "the seed is the name's"


def test_a_changed_folder_is_noticed_and_a_touched_one_is_not(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "place"))
    data = prepared(place, tmp_path / "out")
    before = data.card["files"]["sha256"]
    picture = sorted(place.glob("*/*.png"))[17]
    os.utime(picture)
    assert own("mine", files(place)).fingerprint() != data.card["files"]["fingerprint"]
    assert content_of(own("mine", files(place)), tmp_path / "out") == before
    changes: dict[str, Callable[[], object]] = {
        "renamed": lambda: picture.rename(picture.with_name("another.png")),
        "altered": lambda: write(sorted(place.glob("*/*.png"))[3], noise(1, 1, 8, 8, seed=9)[0]),
        "removed": lambda: sorted(place.glob("*/*.png"))[4].unlink(),
        "added": lambda: write(place / "0" / "new.png", noise(1, 1, 8, 8, seed=10)[0]),
    }
    for change in changes.values():
        change()
        now = content_of(own("mine", files(place)), tmp_path / "out")
        assert now != before
        before = now


def test_prepared_data_need_their_files_no_more_until_they_are_damaged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "place"))
    out = tmp_path / "out"
    card = prepared(place, out).card
    place.rename(tmp_path / "gone")
    assert ensure_prepared("mine", out) == card
    (out / "data.safetensors").write_bytes(b"x")
    with pytest.raises(UnusableFiles, match=r"place does not exist"):
        ensure_prepared("mine", out)
    monkeypatch.setenv("EBMPIPE_FILES_mine", str(tmp_path / "gone"))
    time = (out / "card.json").stat().st_mtime_ns
    assert ensure_prepared("mine", out)["data_sha256"] == card["data_sha256"]
    assert (out / "card.json").stat().st_mtime_ns == time and "nothing made from them has to be made again" in capsys.readouterr().err
    write(tmp_path / "gone" / "0" / "new.png", noise(1, 1, 8, 8)[0])
    assert repair("mine", out)["data_sha256"] != card["data_sha256"]
    (out / "card.json").write_text("{}")
    with pytest.raises(ValueError, match="run `ebmpipe prepare` again with --dataset mine --files PATH, or remove"):
        ensure_prepared("mine", out)


def test_copies_are_in_one_split_and_images_of_other_files_are_counted(tmp_path: Path) -> None:
    levels = noise(40, 3, 4, 4)
    for number, one in enumerate(levels):
        write(tmp_path / "in" / f"{number:03}.png", one)
        if number < 15:
            shutil.copy(tmp_path / "in" / f"{number:03}.png", tmp_path / "in" / f"{number:03}_copy.png")
    data = prepared(tmp_path / "in", tmp_path / "out", validation=10, test=10)
    assert data.card["duplicates"] == 0 and data.card["files"]["copies"] == 15
    train = {one.tobytes() for one in data.split("train")}
    assert all(one.tobytes() in train for one in levels[:15])
    (tmp_path / "in" / "039_again.bmp").write_bytes(encoded(levels[39], "BMP"))
    for seed in range(16, 39):
        (tmp_path / "in" / f"{seed:03}_again.bmp").write_bytes(encoded(levels[seed], "BMP"))
    assert prepared(tmp_path / "in", tmp_path / "out", validation=10, test=10).card["duplicates"] > 0
    shutil.copytree(tmp_path / "in", tmp_path / "in" / "twice")
    with pytest.raises(UnusableFiles, match=r"only 0 images are there once, too few to hold out 20; remove the copies"):
        prepare("mine", tmp_path / "out", own=files(tmp_path / "in", validation=10, test=10))


def test_images_of_any_size_and_colour_are_brought_to_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        height, width = rng.integers(12, 30, 2)
        shade = 8 * number
        write(tmp_path / "in" / f"{number:02}.png", np.full((1 if number % 2 else 3, height, width), shade, np.uint8))
    grey = prepared(tmp_path / "in", tmp_path / "grey", size=12, colour="grey", validation=10, test=10)
    rgb = prepared(tmp_path / "in", tmp_path / "rgb", size=[8, 12], colour="rgb", validation=10, test=10)
    assert (grey.spec.shape, rgb.spec.shape) == ((1, 12, 12), (3, 8, 12))
    for data in (grey, rgb):
        images = np.concatenate([data.split(split) for split in SPLITS])
        assert sorted(images.reshape(30, -1).min(1).tolist()) == [8 * number for number in range(30)]
        assert (images == images[:, :1, :1, :1]).all(), "flat images stay flat"
    assert "shrunk" in grey.card["transformations"] and "ITU-R 601-2" in grey.card["transformations"]


def refused(tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(ValueError, match=r"\S") as caught:
        prepare("mine", tmp_path / "out", own=files(tmp_path / "in", **settings))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    return str(caught.value)


def many(folder: Path, n: int = 40, *shape: int) -> None:
    for number, one in enumerate(noise(n, *(shape or (3, 6, 6)))):
        write(folder / f"{number:03}.png", one)


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    place = tmp_path / "in"
    assert "in does not exist" in refused(tmp_path)
    place.mkdir()
    assert "holds no image (.png" in refused(tmp_path)
    (place / "notes.txt").write_text("x")
    (place / ".hidden.png").write_bytes(b"x")
    assert "holds no image" in refused(tmp_path) and "only 1 others" in refused(tmp_path)
    many(place, 25)
    assert "25 examples come to 21 train, 2 validation, 2 test, and each split needs 10" in refused(tmp_path)
    many(place)
    small = {"validation": 10, "test": 10}
    assert "`array` and `scaling` are for vectors" in refused(tmp_path, scaling="none", **small)
    assert "has one sub-folder" not in refused(tmp_path, labels=True, **small)
    assert "lies in no sub-folder" in refused(tmp_path, labels=True, **small)
    assert "validation: 10.5 is neither" in refused(tmp_path, validation=10.5)
    assert "is 6 × 6, less than 7 × 7: images are never enlarged" in refused(tmp_path, size=7, **small)
    write(place / "017.png", noise(1, 3, 6, 8)[0])
    assert "017.png is 6 × 8 and the first image is 6 × 6: say the `size`" in refused(tmp_path, **small)
    write(place / "017.png", noise(1, 1, 6, 6)[0])
    assert "017.png is grey and the first image is rgb: say `colour: grey` or `colour: rgb`" in refused(tmp_path, **small)
    (place / "017.png").write_bytes((place / "018.png").read_bytes()[:60])
    assert "017.png cannot be read as an image" in refused(tmp_path, **small)
    (place / "017.png").unlink()
    (place / "017.png").symlink_to(tmp_path / "nowhere")
    assert "017.png cannot be read (No such file" in refused(tmp_path, **small)
    (place / "017.png").unlink()
    (tmp_path / "out").mkdir()  # an empty folder is not kept
    assert prepare("mine", tmp_path / "out", own=files(place, **small))["files"]["others"] == 1
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(place)
    many(place / "only")
    assert "has one sub-folder with images, only: labels need two" in refused(tmp_path, labels=True, **small)
    assert prepared(place, tmp_path / "out", **small).spec.classes is None


def test_a_file_that_is_no_folder_is_told_what_it_is(tmp_path: Path) -> None:
    for name, told in {
        "x.jpg": "is one image: name the folder",
        "x.zip": "unpack it if it is an archive",
        "x": "is neither a folder",
    }.items():
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UnusableFiles, match=told):
            own("mine", files(tmp_path / name))
