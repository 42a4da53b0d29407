"""Exact resume: whatever ends a training job, the same command goes on to the same bytes."""

import os
import random
import signal
import time

import pytest
import torch
from small_runs import PCD as SETTINGS
from small_runs import model_bytes, rows_without_seconds, sample_and_evaluate, small

from ebmpipe import checkpoint, training
from ebmpipe.checkpoint import Checkpoint, latest
from ebmpipe.methods import pcd
from ebmpipe.methods.pcd import PCD
from ebmpipe.runs import FILES
from ebmpipe.training import train

METHODS = ["pcd", "nce", "dsm"]


def dying_after(monkeypatch, stop):
    """Checkpoint at every step, and die right after the one of step ``stop``."""
    save = Checkpoint.save

    def dying(self, path):
        save(self, path)
        if self.step == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dying)


@pytest.mark.parametrize("dataset", ["eight_gaussians", "digits"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [1, 17, 59])
def test_resume_is_exact_after_any_checkpoint(folder_of, prepared, monkeypatch, dataset, method, stop):
    whole = folder_of(small(dataset, method), "whole")
    dying_after(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        folder_of(small(dataset, method), "resumed", checkpoint_period=0.0)
    monkeypatch.undo()
    resumed = folder_of(small(dataset, method), "resumed")
    assert model_bytes(resumed) == model_bytes(whole)
    assert rows_without_seconds(resumed) == rows_without_seconds(whole)
    for key in ("training_flops", "gradient_evaluations", "step", "temperature"):
        assert resumed.ledger[key] == whole.ledger[key]
    assert sample_and_evaluate(resumed, prepared[dataset]) == sample_and_evaluate(whole, prepared[dataset])


def wait_for(truth, process, seconds=120.0):
    """Wait until ``truth()``; the process must be alive until then."""
    until = time.monotonic() + seconds
    while not truth():
        assert process.is_alive() or truth(), f"it ended with {process.exitcode}"
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.002)


@pytest.mark.parametrize(("dataset", "method", "updates"), [("eight_gaussians", "pcd", 400), ("digits", "dsm", 150)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(folder_of, trainer_on, prepared, dataset, method, updates):
    """Not after a checkpoint, but anywhere: in an update, in a write, at the start, at the end."""
    kills = int(os.environ.get("EBMPIPE_TEST_KILLS", "6"))
    configuration = small(dataset, method, updates)
    whole = folder_of(configuration, "whole")
    trainer = trainer_on(dataset)
    folder = trainer.folder(configuration)
    rng = random.Random(0)
    killed, finished = 0, False
    while not finished:
        process = trainer.start(configuration, period=0.0)
        if killed < kills:
            before = checkpoints(folder)
            if rng.random() < 0.7:  # the others are killed while they start, read the data, or load the checkpoint
                wait_for(lambda: checkpoints(folder) != before or (folder / "run.json").exists(), process)  # noqa: B023
            time.sleep(rng.uniform(0, 0.08))
            process.kill()
        process.join(120)
        killed += process.exitcode == -signal.SIGKILL
        finished = process.exitcode == 0
        assert process.exitcode in (0, -signal.SIGKILL), trainer.said()
    print(f"{killed} kills")
    assert killed
    assert model_bytes(folder) == model_bytes(whole)
    assert rows_without_seconds(folder) == rows_without_seconds(whole)
    assert not list(folder.path.rglob("*.part"))
    assert sample_and_evaluate(folder, prepared[dataset]) == sample_and_evaluate(whole, prepared[dataset])


def checkpoints(folder):
    """What can be told of the checkpoints from outside."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "checkpoints").glob("*.safetensors") if path.exists()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_the_shells_exit_code(folder_of, trainer_on, number):
    configuration = small(updates=100_000)
    trainer = trainer_on("eight_gaussians")
    process = trainer.start(configuration, period=0.0)
    wait_for(lambda: checkpoints(trainer.folder(configuration)), process)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 128 + number
    assert "the same command goes on from there" in trainer.said()
    (path,) = (path for path in (trainer.folder(configuration) / "checkpoints").iterdir() if ".before" not in path.name)
    assert f"at step {Checkpoint.load(path).step} of 100000" in trainer.said()


def test_a_signal_is_obeyed_inside_an_update_that_does_not_end(folder_of, trainer_on, monkeypatch):
    """The state from before the update is saved, although the update had already changed the weights."""
    settings = {"batch_size": 16, "negatives": 16}
    configuration = small(method="slow_method:Slow", updates=20, settings=settings)
    trainer = trainer_on("eight_gaussians")
    folder = trainer.folder(configuration)
    process = trainer.start(configuration, period=0.5)
    wait_for(lambda: checkpoints(folder), process)  # the slow third update is over
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    process.join(120)
    assert process.exitcode == 128 + signal.SIGTERM
    assert "stopped" in trainer.said()
    (path,) = (path for path in (folder / "checkpoints").iterdir() if ".before" not in path.name)
    assert Checkpoint.load(path).step == 3
    monkeypatch.setenv("HURRY", "1")
    resumed, whole = folder_of(configuration), folder_of(configuration, "whole")
    assert resumed.path == folder.path
    assert model_bytes(resumed) == model_bytes(whole)


CHANGES = {"seed": {"seed": 1}, "setting": {"settings": SETTINGS | {"steps": 3}}, "network": {"network": {"settings": {"width": 9}}}}


@pytest.mark.parametrize("changed", [*CHANGES, "revision", "default", "torch", "data", "nothing"])
def test_only_the_same_run_is_resumed(folder_of, prepared, tmp_path, monkeypatch, capfd, changed):
    dying_after(monkeypatch, 20)
    with pytest.raises(KeyboardInterrupt):
        folder_of(small(), checkpoint_period=0.0)
    monkeypatch.undo()
    data = prepared["eight_gaussians"]
    if changed == "revision":
        monkeypatch.setattr(PCD, "revision", PCD.revision + 1)
    if changed == "torch":
        monkeypatch.setattr(torch, "__version__", "1.0")
    if changed == "data":
        monkeypatch.setattr(training, "inputs", lambda *_: {"data": "other"})
    if changed == "default":
        monkeypatch.setattr(pcd.PCDConfig.model_fields["restart"], "default", 0.25)
        pcd.PCDConfig.model_rebuild(force=True)
    train(small(**CHANGES.get(changed, {})), data, tmp_path / "results", "cpu")
    assert ("resuming" in capfd.readouterr().err) == (changed == "nothing")
    monkeypatch.undo()
    pcd.PCDConfig.model_rebuild(force=True)


def test_a_finished_run_is_left_as_it_is(folder_of, capfd):
    folder = folder_of(small())
    before = {path.name: path.stat().st_mtime_ns for path in folder.path.glob("[!.]*")}
    folder_of(small())
    assert "is trained already" in capfd.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in folder.path.glob("[!.]*")} == before
    folder_of(small(settings=SETTINGS | {"steps": 3}))
    assert "is trained already" not in capfd.readouterr().err


def test_the_last_checkpoint_outlives_training_and_is_gone_once_sampled(folder_of, prepared, capfd):
    """A workflow killed before it noted that the job was done calls it again with its outputs removed: nothing is trained twice."""
    folder = folder_of(small())
    before = model_bytes(folder)
    for name in (*FILES["train"], "run.json"):
        (folder / name).unlink()
    folder_of(small())
    assert "at step 60 of 60" in capfd.readouterr().err
    assert model_bytes(folder) == before
    sample_and_evaluate(folder, prepared["eight_gaussians"])
    assert not list((folder / "checkpoints").iterdir())


def test_two_jobs_on_one_run_wait_for_each_other(folder_of, trainer_on):
    configuration = small(updates=200)
    trainer = trainer_on("eight_gaussians")
    with trainer.folder(configuration).locked(make=True):
        process = trainer.start(configuration)
        wait_for(lambda: "waiting for it" in trainer.said(), process)
        assert f"process {os.getpid()} on" in trainer.said()
        assert not (trainer.folder(configuration) / "run.json").exists()
    process.join(120)
    assert process.exitcode == 0
    assert trainer.folder(configuration).ledger["status"] == "finished"


def test_a_crash_between_the_two_renames_of_a_checkpoint_loses_nothing(folder_of, monkeypatch, tmp_path):
    """The old one has been moved aside and the new one is not in place yet."""
    whole = folder_of(small(), "whole")
    dying_after(monkeypatch, 30)
    with pytest.raises(KeyboardInterrupt):
        folder_of(small(), checkpoint_period=0.0)
    monkeypatch.undo()
    (newest,) = (path for path in tmp_path.glob("results/**/checkpoints/*.safetensors") if ".before" not in path.name)
    newest.unlink()
    assert latest(newest).step == 29
    assert model_bytes(folder_of(small())) == model_bytes(whole)


@pytest.mark.parametrize("fault", ["truncated", "altered", "metadata", "empty"])
@pytest.mark.parametrize("which", ["newest", "both"])
def test_a_damaged_checkpoint_is_named_set_aside_and_made_up_for(folder_of, monkeypatch, tmp_path, capfd, fault, which):
    whole = folder_of(small(), "whole")
    dying_after(monkeypatch, 30)
    with pytest.raises(KeyboardInterrupt):
        folder_of(small(), checkpoint_period=0.0)
    monkeypatch.undo()
    paths = sorted(tmp_path.glob("results/**/checkpoints/*.safetensors"), key=lambda path: ".before" in path.name)
    for path in paths if which == "both" else paths[:1]:
        content = path.read_bytes()
        middle = 8 + int.from_bytes(content[:8], "little") + 1000
        damaged = {
            "truncated": content[:-100],
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "metadata": content.replace(b"wall_s", b"wall_t", 1),
            "empty": b"",
        }[fault]
        assert damaged != content
        path.write_bytes(damaged)
    resumed = folder_of(small())
    said = capfd.readouterr().err
    assert f"checkpoint {paths[0]} is damaged" in said
    assert ("at step 29 of 60" in said) == (which == "newest")
    assert model_bytes(resumed) == model_bytes(whole)
    assert rows_without_seconds(resumed) == rows_without_seconds(whole)


def test_a_checkpoint_holds_every_kind_of_tensor(tmp_path):
    model = {"a": torch.randn(3, 2), "b": torch.tensor(True), "c": torch.zeros(0, 4), "d": torch.arange(3), "e": torch.randn(2).bfloat16()}
    made = Checkpoint.of(5, model, torch.Generator().get_state(), [{"step": 1, "loss": 0.1}], {"x": [1.5]})
    model["a"].zero_()
    made.save(tmp_path / "c.safetensors")
    read = Checkpoint.load(tmp_path / "c.safetensors")
    assert (read.step, read.history, read.extra) == (5, [{"step": 1, "loss": 0.1}], {"x": [1.5]})
    assert all(torch.equal(read.model[name], made.model[name]) and read.model[name].dtype == model[name].dtype for name in model)
    assert read.model["a"].abs().sum() > 0
    assert checkpoint.before(tmp_path / "c.safetensors").name == "c.before.safetensors"
