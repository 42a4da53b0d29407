"""Damaged prepared data: noticed and named by whoever opens them, and made again where asked, without needless reruns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ebmpipe.cli import app
from ebmpipe.data.prepared import Prepared, UnusableData
from ebmpipe.data.two_moons import TwoMoons
from ebmpipe.files import read_signed, write_signed
from ebmpipe.preparing import ensure_prepared, prepare, repair

NAME = "two_moons"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / NAME
    prepare(NAME, out)
    return out


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("other") / "rings"
    prepare("rings", out)
    return out


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A prepared folder, an hour old."""
    copy = Path(shutil.copytree(sound, tmp_path / NAME))
    for path in copy.iterdir():
        os.utime(path, ns=(path.stat().st_mtime_ns - 3_600_000_000_000,) * 2)
    return copy


def edited(path: Path, other: Path, **fields: Any) -> None:
    """A card edited by hand; what it says of its own checksum stays."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2, sort_keys=True) + "\n")


def flipped(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def signed(path: Path, other: Path, drop: str) -> None:
    """A card with its own checksum, but of another version of the package."""
    write_signed(path, {key: value for key, value in read_signed(path).items() if key != drop})


Damage = Callable[[Path, Path], None]

#: How each of the two files is damaged.
COMMON: dict[str, Damage] = {
    "empty": lambda path, other: path.write_bytes(b"") and None,
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-100]) and None,
    "one bit altered": flipped,
    "text after": lambda path, other: path.write_bytes(path.read_bytes() + b"x") and None,
    "missing": lambda path, other: path.unlink(),
    "of another data set": lambda path, other: shutil.copy(other / path.name, path) and None,
}
CARD: dict[str, Damage] = {
    "another mean": lambda path, other: edited(path, other, mean=0.5),
    "another entropy": lambda path, other: edited(path, other, entropy=1.0),
    "another checksum of the data": lambda path, other: edited(path, other, data_sha256="0" * 64),
    "another checksum of its own": lambda path, other: edited(path, other, sha256="0" * 64),
    "a list": lambda path, other: path.write_text("[]") and None,
    "an empty object": lambda path, other: path.write_text("{}") and None,
    "no text": lambda path, other: path.write_bytes(b"\xff\xfe\x00") and None,
    "without data_sha256": lambda path, other: signed(path, other, "data_sha256"),
    "without revision": lambda path, other: signed(path, other, "revision"),
    "without mean": lambda path, other: signed(path, other, "mean"),
}
CASES = [
    pytest.param(file, how, id=f"{file}-{what}")
    for file, ways in (("data.safetensors", COMMON), ("card.json", COMMON | CARD))
    for what, how in ways.items()
]


@pytest.mark.parametrize(("file", "how"), CASES)
def test_damage_is_noticed_named_and_mended(
    folder: Path, sound: Path, other: Path, file: str, how: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    how(folder / file, other)
    with pytest.raises(UnusableData) as caught:
        Prepared(folder, NAME)
    message = str(caught.value)
    assert str(folder) in message and "`ebmpipe prepare`" in message
    assert file in message or "data.safetensors is not the file that card.json describes" in message or "holds rings" in message
    card = ensure_prepared(NAME, folder)
    assert f"ebmpipe: {message}: doing so now" in capsys.readouterr().err
    assert card == Prepared(folder, NAME).card
    for name in ("data.safetensors", "card.json"):
        assert (folder / name).read_bytes() == (sound / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "data.safetensors"]


def test_both_files_of_another_data_set_are_noticed(folder: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.iterdir():
        shutil.copy(other / path.name, path)
    assert Prepared(folder).spec.name == "rings"
    with pytest.raises(UnusableData, match=f"two_moons holds rings, not {NAME}"):
        Prepared(folder, NAME)
    assert ensure_prepared(NAME, folder)["name"] == NAME
    assert "holds rings" in capsys.readouterr().err


def times(folder: Path) -> list[int]:
    return [(folder / name).stat().st_mtime_ns for name in ("card.json", "data.safetensors")]


def test_data_restored_bit_for_bit_keep_their_time(folder: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(folder)[0]
    flipped(folder / "data.safetensors", other)
    repair(NAME, folder)
    assert times(folder) == [before, before]
    assert "nothing made from them has to be made again" in capsys.readouterr().err


def test_data_whose_card_is_damaged_too_count_as_new(folder: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(folder)[0]
    flipped(folder / "card.json", other)
    repair(NAME, folder)
    assert min(times(folder)) > before
    assert "there was no sound card before" in capsys.readouterr().err


def test_data_that_come_out_otherwise_count_as_new(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(folder)[0]
    write_signed(folder / "card.json", read_signed(folder / "card.json") | {"title": "Another title"})
    repair(NAME, folder)
    assert min(times(folder)) > before
    assert "not what the card there described before" in capsys.readouterr().err


def test_what_is_sound_is_left_alone_and_what_is_missing_is_made(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(folder)
    card = ensure_prepared(NAME, folder)
    assert times(folder) == before
    assert ensure_prepared(NAME, tmp_path / "new") == card
    assert capsys.readouterr().err == ""


def test_another_revision_is_prepared_again(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(TwoMoons, "revision", 2)
    assert ensure_prepared(NAME, folder)["revision"] == 2
    assert "was prepared at revision 1 of two_moons, which is at 2 now" in capsys.readouterr().err
    assert Prepared(folder).card["revision"] == 2


def test_the_command_mends_what_is_damaged(folder: Path, sound: Path, other: Path) -> None:
    before = times(folder)[0]
    flipped(folder / "data.safetensors", other)
    results = folder.parent / "results"
    (results / "data").mkdir(parents=True)
    folder.rename(results / "data" / NAME)
    done = CliRunner().invoke(app, ["prepare", "--dataset", NAME, "--results", str(results)])
    assert done.exit_code == 0 and "50000 train, 10000 validation, 20000 test" in done.stdout
    assert times(results / "data" / NAME) == [before, before]
    assert (results / "data" / NAME / "data.safetensors").read_bytes() == (sound / "data.safetensors").read_bytes()


@pytest.mark.parametrize("there", [False, True], ids=["new", "prepared before"])
def test_a_full_disk_is_one_error_and_leaves_what_was_there(folder: Path, tmp_path: Path, there: bool) -> None:
    out = folder if there else tmp_path / "new"
    before = {path.name: path.read_bytes() for path in out.glob("*")}
    code = (
        "import resource, sys; from pathlib import Path; from ebmpipe.preparing import repair; from ebmpipe.files import Unwritable\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"try:\n    repair({NAME!r}, Path(sys.argv[1]))\n"
        "except Unwritable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, out], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{out / 'data.safetensors'} cannot be written (File too large)") and done.stdout.count("\n") == 1
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file/two_moons/data\.safetensors cannot be written \(Not a directory\)"):
        prepare(NAME, tmp_path / "file" / NAME)
