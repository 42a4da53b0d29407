"""CIFAR-10 from whichever of its files are at hand: the same data from each format, and from five batches what the card says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_files import BATCHES, FILES, PER_BATCH, SmallCIFAR10, lay  # type: ignore[import-not-found]
from typer.testing import CliRunner

from ebmpipe.catalogue import catalogue
from ebmpipe.cli import app
from ebmpipe.config import WorkflowConfig
from ebmpipe.data.base import SPLITS
from ebmpipe.data.cifar10 import BINARY, CIFAR10, PYTHON
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.prepared import Prepared
from ebmpipe.planning import ConfigError, Plan
from ebmpipe.preparing import prepare

#: What may be at hand, and where.
WHOLE = {
    "binary batches": ("cifar-10-batches-bin", BINARY),
    "python batches": ("cifar-10-batches-py", PYTHON),
    "binary archive": (".", ("cifar-10-binary.tar.gz",)),
    "python archive": ("cifar10", ("cifar-10-python.tar.gz",)),
}
FIVE = {"binary batches": ("cifar10", BINARY[:5]), "python batches": ("cifar10/cifar-10-batches-py", PYTHON[:5])}


@pytest.fixture(autouse=True)
def member(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The small set under its own name, and no other raw files than those of a test."""
    monkeypatch.setattr("ebmpipe.data.cifar10.CIFAR10", SmallCIFAR10)
    monkeypatch.setattr(SmallCIFAR10, "__module__", "ebmpipe.data.cifar10")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("choices", [WHOLE, FIVE], ids=["whole", "without the test batch"])
def test_every_format_gives_the_same_bytes(tmp_path: Path, choices: dict[str, Any]) -> None:
    made = set()
    for number, (folder, names) in enumerate(choices.values()):
        raw = tmp_path / f"raw{number}"
        lay(raw / folder, names)
        prepare("cifar10", tmp_path / f"out{number}", raw)
        made.add(tuple((tmp_path / f"out{number}" / file).read_bytes() for file in ("data.safetensors", "card.json")))
    assert len(made) == 1


def rows(pixels: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in zip(pixels, labels, strict=True)]


@pytest.mark.parametrize("whole", [True, False])
def test_every_image_is_there_once_with_its_label(tmp_path: Path, whole: bool) -> None:
    raw = lay(tmp_path / "raw", BINARY if whole else BINARY[:5])
    card = prepare("cifar10", tmp_path / "out", raw)
    data = Prepared(tmp_path / "out")
    found = {split: rows(data.split(split), data.labels(split)) for split in SPLITS}
    source = [row for batch in BATCHES for row in rows(*batch)]
    training, test = source[: 5 * PER_BATCH], source[5 * PER_BATCH :]
    if not whole:
        training, test = training[:-20], training[-20:]
    assert card["counts"] == {split: len(found[split]) for split in SPLITS}
    assert card["counts"] == ({"train": 180, "validation": 20, "test": 40} if whole else {"train": 160, "validation": 20, "test": 20})
    assert found["test"] == test  # in the source's order
    assert sorted(found["train"] + found["validation"]) == sorted(training)
    assert found["train"] != training[: len(found["train"])]  # shuffled
    held = "only the five training batches were at hand: the last 20 training images are the test split"
    assert card["remarks"] == ([] if whole else [held])


def test_planes_rows_and_columns_are_where_they_belong(tmp_path: Path) -> None:
    prepare("cifar10", tmp_path / "out", lay(tmp_path / "raw", BINARY))
    image = Prepared(tmp_path / "out").split("test")[7]
    assert image.shape == (3, 32, 32)
    assert image[2, 5, 9] == BATCHES[5][0][7, 2 * 1024 + 5 * 32 + 9]  # blue, row 5, column 9


def test_the_whole_set_is_preferred_to_five_batches_and_five_to_a_download(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", BINARY[:5])
    assert SmallCIFAR10.sizes_found(raw)["test"] == 20
    lay(raw / "cifar10", ["cifar-10-python.tar.gz"])
    assert SmallCIFAR10.sizes_found(raw) == SmallCIFAR10.sizes
    assert list(SmallCIFAR10.raw_found(raw)) == ["cifar-10-python.tar.gz"]
    assert SmallCIFAR10.sizes_found(None) == SmallCIFAR10.sizes


@pytest.mark.parametrize("how", ["altered", "cut off", "of another batch"])
@pytest.mark.parametrize("kind", WHOLE)
def test_files_that_are_not_the_published_ones_are_refused_and_left(tmp_path: Path, kind: str, how: str) -> None:
    folder, names = WHOLE[kind]
    raw = tmp_path / "raw"
    lay(raw / folder, names)
    path = raw / folder / names[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = FILES["data_batch_1.bin" if "python" in kind else "data_batch_1"]
    path.write_bytes({"altered": bytes(content), "cut off": bytes(content)[:-7], "of another batch": other}[how])
    before = path.read_bytes()
    with pytest.raises(UnusableRawData, match=rf"{path} is not the published file: its SHA-256 is .*; it is left as it is: replace it"):
        prepare("cifar10", tmp_path / "out", raw)
    assert path.read_bytes() == before and not (tmp_path / "out").exists()


def test_an_archive_whose_members_are_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = lay(tmp_path / "raw", ["cifar-10-binary.tar.gz"])
    monkeypatch.setattr(SmallCIFAR10, "checksums", {**SmallCIFAR10.checksums, "test_batch.bin": "md5:" + "0" * 32})
    with pytest.raises(UnusableRawData, match=r"cifar-10-batches-bin/test_batch.bin in .*tar.gz is not the published file: its MD5 is"):
        prepare("cifar10", tmp_path / "out", raw)


def test_the_binary_archive_is_downloaded_once_and_goes_on_where_it_broke_off(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallCIFAR10, "mirrors", (server.url(""),))
    server.files = {"cifar-10-binary.tar.gz": FILES["cifar-10-binary.tar.gz"]}
    server.cuts = [100_000]
    for out in ("first", "again"):
        prepare("cifar10", tmp_path / out, tmp_path / "raw")
    assert [request["range"] for request in server.requests] == [None, "bytes=100000-"]
    assert sorted(path.name for path in (tmp_path / "raw").rglob("*") if path.is_file()) == ["cifar-10-binary.tar.gz"]
    prepare("cifar10", tmp_path / "loose", lay(tmp_path / "loose raw", BINARY))
    assert (tmp_path / "first" / "data.safetensors").read_bytes() == (tmp_path / "loose" / "data.safetensors").read_bytes()


def test_offline_the_message_says_what_to_do_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallCIFAR10, "mirrors", CIFAR10.mirrors)
    with pytest.raises(UnusableRawData) as caught:
        prepare("cifar10", tmp_path / "out", tmp_path / "raw")
    assert str(caught.value) == (
        "cifar10 needs cifar-10-binary.tar.gz, and downloading it failed (EBMPIPE_OFFLINE is set); fetch it from "
        f"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz and put it into {tmp_path / 'raw' / 'cifar10'}"
    )


def plan(raw: Path, *, optional: bool) -> Plan:
    config = {
        "raw_data": str(raw),
        "methods": {"pcd": {}},
        "datasets": {"digits": {}, "cifar10": {"optional": optional}},
    }
    return Plan(config, json.loads(json.dumps(WorkflowConfig.model_json_schema())), json.loads(json.dumps(catalogue())))


@pytest.mark.parametrize("kind", WHOLE)
def test_planning_takes_any_of_the_sets_and_names_what_lacks_least(tmp_path: Path, kind: str) -> None:
    folder, names = WHOLE[kind]
    raw = tmp_path / "raw"
    assert set(plan(raw, optional=True).left_out) == {"cifar10"}
    assert "data_batch_1.bin is in none of" in plan(raw, optional=True).left_out["cifar10"]
    with pytest.raises(ConfigError, match=r"datasets.cifar10: data_batch_1.bin is in none of"):
        plan(raw, optional=False)  # the small set has no mirrors
    lay(raw / folder, names)
    assert not plan(raw, optional=False).left_out
    if len(names) > 1:
        (raw / folder / names[1]).unlink()
        missing = plan(raw, optional=True).left_out["cifar10"]
        assert missing.startswith(f"{names[1]} is in none of")
        assert SmallCIFAR10.whereabouts(raw) == f"{names[1]} missing"


def test_the_commands_say_where_it_is_and_what_is_held_out(tmp_path: Path) -> None:
    raw = lay(tmp_path / "raw", BINARY[:5])
    lines = dict(line.split(maxsplit=1) for line in CliRunner().invoke(app, ["datasets", "--raw", str(raw)]).stdout.splitlines())
    assert lines["cifar10"].endswith(f"in {raw}; {SmallCIFAR10.remarks(raw)[0]}")
    assert "format tested, never run on the original" in lines["svhn"]
    done = CliRunner().invoke(app, ["prepare", "--dataset", "cifar10", "--raw", str(raw), "--results", str(tmp_path / "results")])
    assert done.exit_code == 0 and done.stdout.endswith("160 train, 20 validation, 20 test\n")


def test_the_real_five_batches_have_the_published_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Path(os.environ["EBMPIPE_DATA_DIR"]) if "EBMPIPE_DATA_DIR" in os.environ else None
    if not (found := CIFAR10.raw_found(raw)) or not set(BINARY[:5]) <= set(found):
        pytest.skip("CIFAR-10's training batches in their binary version are not at hand; set EBMPIPE_DATA_DIR")
    sums, squares, counts = np.zeros(3), np.zeros(3), np.zeros(10, np.int64)
    for name, content, source in CIFAR10().loose({name: found[name] for name in BINARY[:5]}):
        images, labels = CIFAR10().batch(name, content, source)
        counts += np.bincount(labels, minlength=10)
        scaled = images.astype(np.float32) / 255
        sums += scaled.sum(axis=(0, 2, 3), dtype=np.float64)
        squares += np.square(scaled).sum(axis=(0, 2, 3), dtype=np.float64)
    mean, square = (total / (50_000 * 1024) for total in (sums, squares))
    assert counts.tolist() == [5_000] * 10
    # As everyone who normalises the training images has them.
    np.testing.assert_allclose(mean, [0.49140, 0.48216, 0.44653], atol=6e-6)
    np.testing.assert_allclose(np.sqrt(square - mean**2), [0.24703, 0.24348, 0.26159], atol=6e-6)
