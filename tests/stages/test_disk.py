"""A disk that is full, a folder that cannot be written: one clear error, and nothing half-written."""

import os
import resource
import subprocess
import sys

import pytest
from small_runs import small

from ebmpipe import files
from ebmpipe.files import Unwritable, atomic, write_json, write_text
from ebmpipe.runs import RunFolder


def limited(size):
    """Runs in the child: files may not grow beyond ``size`` bytes, which writes see as they see a full disk, as an OSError."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def ebmpipe(*arguments, cwd, size=None):
    command = [sys.executable, "-m", "ebmpipe.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, preexec_fn=limited(size) if size else None, check=False)


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(files.PART)]


@pytest.mark.parametrize("size", [500, 1000, 4000])
def test_a_full_disk_while_training(trainer_on, folder_of, tmp_path, size):
    """At the first checkpoint or any other file; with space again the run ends as if nothing had been."""
    configuration = small(updates=30)
    trainer = trainer_on("eight_gaussians")
    folder = trainer.folder(configuration)
    folder.path.mkdir(parents=True)
    process = trainer.start(configuration, period=0.0, file_size=size)
    process.join(120)
    assert process.exitcode == 1
    assert "cannot be written (File too large)" in trainer.said()
    assert not leftovers(tmp_path)
    assert not (folder / "run.json").exists()
    assert not (folder / "model.safetensors").exists()
    whole = folder_of(configuration, "whole")
    assert (folder_of(configuration) / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_command_line_says_so_in_one_line(tmp_path):
    done = ebmpipe("prepare", "--dataset", "two_moons", cwd=tmp_path, size=5_000)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ebmpipe: results/data/two_moons/data.safetensors cannot be written (File too large); "
        "free space or name another folder, then run it again"
    ]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", [("prepare",), ("train", "--method", "noise")])
def test_a_folder_that_cannot_be_written(tmp_path, command):
    (tmp_path / "results").write_text("a file where the folder should be")
    done = ebmpipe(*command, "--dataset", "two_moons", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr
    assert "results/data/two_moons" in line and "Not a directory" in line
    assert (tmp_path / "results").read_text().startswith("a file")


@pytest.mark.parametrize("when", ["writing", "syncing", "renaming"])
def test_what_lay_there_before_still_does(tmp_path, monkeypatch, when):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail(*_):
        raise OSError(28, os.strerror(28))

    def write():
        with atomic(path) as temporary:
            if when == "writing":
                fail()
            temporary.write_text("new")
            monkeypatch.setattr(*{"syncing": (os, "fsync"), "renaming": (type(path), "replace")}[when], fail)

    with pytest.raises(Unwritable, match=rf"{path} cannot be written \(No space left on device\)"):
        write()
    monkeypatch.undo()
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "results").write_text("")
    with (
        pytest.raises(Unwritable, match=r"seed3 cannot be written \(Not a directory\)"),
        RunFolder.of(tmp_path / "results", "a", "b", 3).locked(make=True),
    ):
        pass


def test_an_error_of_another_kind_is_passed_on_and_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "a") as temporary:
        temporary.write_text(str(1 / 0))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_half_wrote_is_swept_up(trainer_on, folder_of):
    configuration = small(updates=3)
    folder = trainer_on("eight_gaussians").folder(configuration)
    write_text(folder / f".model.safetensors.abc{files.PART}", "half")
    folder_of(configuration)
    assert not leftovers(folder.path)
