"""Sets that are made by parts: prepared to the same bytes and the same card as at once, in less memory than they take."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.prepared import Prepared, to_model_space
from ebmpipe.files import held, write_arrays
from ebmpipe.methods.base import build
from ebmpipe.preparing import prepare

#: A set that cannot be in memory at once where the limit holds: noise of a given size, made row by row. It is written to a file of its
#: own for the process whose memory is measured.
MADE_UP = """
import numpy as np
from ebmpipe.data.base import DataSet

class MadeUp(DataSet):
    name, revision, title, kind, source, licence, transformations = "made_up", 1, "Made up", "images", "made up", "none", "none"
    shape, levels, classes, sizes = (3, 64, 64), 256, 7, {"train": 50_000, "validation": 5_000, "test": 6_000}

    def layout(self, raw):
        found = {}
        for split, n in self.sizes.items():
            found[split], found[split + "_labels"] = ((n, *self.shape), np.dtype(np.uint8)), ((n,), np.dtype(np.int64))
        return found

    def parts(self, raw):
        rng = np.random.default_rng(0)
        for split, n in self.sizes.items():
            for rows in np.array_split(rng.permutation(n), max(n // 1000, 1)):
                yield split, rows, rng.integers(self.levels, size=(len(rows), *self.shape), dtype=np.uint8)
            yield split + "_labels", slice(None), rng.integers(self.classes, size=n)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> type[DataSet]:
    """The same set, small."""
    scope: dict[str, Any] = {"__name__": "made_up"}
    exec(MADE_UP, scope)
    made_up: type[DataSet] = scope["MadeUp"]
    made_up.sizes, made_up.shape = {"train": 3_000, "validation": 40, "test": 50}, (3, 8, 8)
    return made_up


class Vectors(DataSet):
    """Vectors far from zero, where a variance by squares less the square of the mean would be lost."""

    name, revision, title, kind, source, licence, transformations = "vectors", 1, "Vectors", "vectors", "made up", "none", "none"
    shape, sizes = (3,), {"train": 5_000, "validation": 40, "test": 50}

    def arrays(self, raw: Path | None) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {split: (1e4 + rng.standard_normal((n, 3))).astype(np.float32) for split, n in self.sizes.items()}


def prepared(member: type[DataSet], out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("ebmpipe.registry.load", lambda package, name: member)
    return prepare(member.name, out)


@pytest.fixture(params=["images", "vectors"])
def member(request: pytest.FixtureRequest, small: type[DataSet], monkeypatch: pytest.MonkeyPatch) -> type[DataSet]:
    monkeypatch.setattr("ebmpipe.array_file.CHUNK", 10_000)  # so that there are many chunks
    return small if request.param == "images" else Vectors


def test_bytes_and_card_are_those_of_the_plain_computation(member: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = prepared(member, tmp_path / "out", monkeypatch)
    arrays = member().arrays(None)
    write_arrays(tmp_path / "at once", arrays)
    content = (tmp_path / "at once").read_bytes()
    assert (tmp_path / "out" / "data.safetensors").read_bytes() == content
    assert card["data_sha256"] == hashlib.sha256(content).hexdigest()
    assert card["array_sha256"] == {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    train = arrays["train"].astype(np.float64)
    noise = 0.0
    if member.levels is not None:
        train, noise = to_model_space(train, member.levels, 0.5), (2 / member.levels) ** 2 / 12
    assert card["mean"] == pytest.approx(train.mean(), rel=1e-12)
    assert card["std"] == pytest.approx(np.sqrt(train.var() + noise), rel=1e-12)
    stored = np.concatenate([arrays[split].ravel() for split in SPLITS])
    assert card["range"] == [stored.min(), stored.max()]
    assert card["counts"] == member.sizes


def test_either_way_of_giving_arrays_follows_from_the_other(small: type[DataSet]) -> None:
    for member in (small(), Vectors()):
        arrays = member.arrays(None)
        assert {key: (array.shape, array.dtype) for key, array in arrays.items()} == member.layout(None)
        gathered: dict[str, np.ndarray] = {key: np.zeros(shape, dtype) for key, (shape, dtype) in member.layout(None).items()}
        for key, rows, values in member.parts(None):
            gathered[key][rows] = values
        for key, array in arrays.items():
            np.testing.assert_array_equal(gathered[key], array)


def test_a_set_that_gives_its_arrays_in_neither_way_is_told_so() -> None:
    class Neither(Vectors):
        arrays = DataSet.arrays

    with pytest.raises(NotImplementedError, match="vectors must implement arrays, or layout and parts"):
        Neither().layout(None)


def test_what_breaks_off_leaves_nothing(small: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(small):  # type: ignore[misc, valid-type]
        def parts(self, raw: Path | None) -> Iterator[Part]:
            yield from list(super().parts(raw))[:-1]

    class Unreadable(small):  # type: ignore[misc, valid-type]
        def parts(self, raw: Path | None) -> Iterator[Part]:
            yield next(super().parts(raw))
            raise PermissionError(13, "Permission denied", "raw.bin")

    class Wide(small):  # type: ignore[misc, valid-type]
        def layout(self, raw: Path | None) -> Layout:
            return {**super().layout(raw), "test": ((50, 3, 8, 9), np.dtype(np.uint8))}

    for member, complaint in (
        (Broken, "data set made_up: 50 rows of test_labels are not given"),
        (Unreadable, r"the raw data of made_up cannot be read \(.*raw.bin"),
        (Wide, "data set made_up: test holds events of shape"),
    ):
        with pytest.raises(ValueError, match=complaint):
            prepared(member, tmp_path / "out", monkeypatch)
        assert not (tmp_path / "out").exists()


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(
    small: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (tmp_path / "made_up.py").write_text(
        MADE_UP + "    sizes = {'train': 30, 'validation': 4, 'test': 5}\n"
        "class Killed(MadeUp):\n    def parts(self, raw):\n        yield next(super().parts(raw))\n"
        "        import os, signal\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code = "import sys; from pathlib import Path; from ebmpipe.preparing import prepare; prepare('made_up:Killed', Path(sys.argv[1]))"
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    killed = subprocess.run([sys.executable, "-c", code, out], env=os.environ | {"PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    (left,) = out.iterdir()
    assert left.name.endswith(".part")
    other = out / ".data.safetensors.other.part"
    other.touch()
    with held(other):
        prepared(small, out, monkeypatch)
        assert {path.name for path in out.iterdir()} == {"data.safetensors", "card.json", other.name}
    prepared(small, out, monkeypatch)
    assert {path.name for path in out.iterdir()} == {"data.safetensors", "card.json"}


def test_long_preparing_shows_how_far_it_is(
    small: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(small, tmp_path / "silent", monkeypatch)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("ebmpipe.preparing.LONG", 1)
    prepared(small, tmp_path / "told", monkeypatch)
    told = capsys.readouterr().err
    assert "preparing made_up: 3090/3090 in" in told and "checking made_up: 3090/3090 in" in told


def test_parts_in_model_space_are_the_numbers_of_the_whole(small: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for member in (small, Vectors):
        prepared(member, tmp_path / member.name, monkeypatch)
        data = Prepared(tmp_path / member.name)
        values = data.split("train")
        plain = values.astype(np.float64)
        if member.levels is not None:
            plain = to_model_space(values, member.levels, np.random.default_rng(3).random(values.shape))
        np.testing.assert_array_equal(data.model_space("train", np.random.default_rng(3)), plain)
        np.testing.assert_array_equal(np.concatenate(list(data.in_parts("train", np.random.default_rng(3), 7))), plain)


@pytest.mark.parametrize("n", [10, 40, 1000])
def test_held_out_data_are_drawn_in_parts_as_from_the_whole(
    n: int, small: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebmpipe.data.prepared.TOGETHER", 7 * 192)
    for member in (small, Vectors):
        with monkeypatch.context() as patched:
            prepared(member, tmp_path / member.name, patched)
        data = Prepared(tmp_path / member.name)
        drawn = build("data", data.spec, {}, 0).sample(n, torch.Generator().manual_seed(5)).x
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5))))
        whole = data.model_space("validation", rng)
        np.testing.assert_array_equal(drawn.numpy(), whole[rng.permutation(len(whole))[:n]].astype(np.float32))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process has used at most")
def test_seven_hundred_megabytes_are_prepared_and_trained_on_in_far_less(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(MADE_UP)
    code = """
import re, sys
from pathlib import Path
folder = Path(sys.argv[1])
sys.path.insert(0, sys.argv[1])
from ebmpipe.preparing import prepare

def peak():
    print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

print(prepare("made_up:MadeUp", folder / "out")["counts"]["train"])
peak()
from ebmpipe.batches import Batches
from ebmpipe.data.prepared import Prepared
from ebmpipe.seeding import torch_generator
peak()
batches = Batches(Prepared(folder / "out"), 64, 0, "cpu")
for step in range(3):
    batches.at(step, torch_generator(0, "noise", step))
peak()
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    count, prepared, before, after = map(int, done.stdout.split())
    size = (tmp_path / "out" / "data.safetensors").stat().st_size
    assert count == 50_000 and size > 7e8
    assert prepared < 400_000, f"{prepared} kB"
    assert after - before < 150_000, f"{before} kB, then {after} kB"
    assert re.search(r"preparing made_up: 61000/61000", done.stderr)
