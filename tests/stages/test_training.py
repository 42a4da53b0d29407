"""The train stage: budget, ledger, exact resume, divergence."""

import csv
import json

import pytest
import torch

from ebmpipe import training
from ebmpipe.checkpoint import Checkpoint
from ebmpipe.config import RunConfig, SamplingConfig
from ebmpipe.files import sha256
from ebmpipe.methods import pcd
from ebmpipe.methods.pcd import PCD
from ebmpipe.provenance import choose_device
from ebmpipe.runs import CorruptFile, RunFolder
from ebmpipe.sampling import sample
from ebmpipe.training import train

SETTINGS = {"batch_size": 16, "chains": 32, "steps": 2, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}}


def config(dataset="eight_gaussians", method="pcd", budget=16 * 4 * 60, **changes):
    given = {"dataset": dataset, "label": method, "method": method, "gradient_evaluations": budget}
    given |= {"settings": SETTINGS if method == "pcd" else {"batch_size": 16}, "network": {"settings": {"width": 8}}}
    return RunConfig.model_validate(given | changes)


@pytest.fixture
def folder_of(prepared, tmp_path):
    def run(configuration, name="results"):
        return train(configuration, prepared[configuration.dataset], tmp_path / name, "cpu")

    return run


def model_bytes(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dataset", ["eight_gaussians", "digits"])
@pytest.mark.parametrize("method", ["pcd", "nce", "dsm"])
def test_the_budget_is_kept_and_the_ledger_is_complete(folder_of, dataset, method):
    folder = folder_of(config(dataset, method))
    ledger = folder.ledger
    method_cost = {"pcd": 16 * 4, "nce": 32, "dsm": 32}[method]
    assert ledger["status"] == "finished"
    assert ledger["step"] == ledger["iterations"] == 16 * 4 * 60 // method_cost
    assert ledger["gradient_evaluations"] == ledger["step"] * method_cost <= 16 * 4 * 60
    assert ledger["training_flops"] > 0
    assert ledger["parameters"] > 0
    assert set(ledger["stages"]["train"]) == {"wall_s", "startup_s", "device", "peak_memory_mb", "files"}
    for name, recorded in ledger["files"].items():
        assert sha256(folder / name) == recorded
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert int(rows[-1]["step"]) == ledger["step"]
    assert json.loads((folder / "config.json").read_text())["method"] == method


def test_flops_are_those_of_the_matrix_products(folder_of):
    """PCD on a 2-8-8-1 network: forward and input gradient by hand for the chains, forward and backward for the loss."""
    ledger = folder_of(config()).ledger
    layers = 2 * (2 * 8 + 8 * 8)
    sampling = 16 * 2 * (2 * layers)
    head = 2 * 8
    loss = 32 * (layers + head) + 32 * (2 * (layers - 2 * 2 * 8) + 2 * 2 * 8 + 2 * head)
    assert ledger["training_flops"] == ledger["step"] * (sampling + loss)


def test_a_control_trains_nothing(folder_of):
    ledger = folder_of(config(method="noise", settings={})).ledger
    assert ledger["step"] == ledger["gradient_evaluations"] == ledger["training_flops"] == 0


def test_a_budget_too_small_is_refused(folder_of):
    with pytest.raises(ValueError, match="does not pay for one update"):
        folder_of(config(budget=10))


@pytest.mark.parametrize("dataset", ["eight_gaussians", "digits"])
@pytest.mark.parametrize("method", ["pcd", "nce", "dsm"])
@pytest.mark.parametrize("stop", [1, 17, 59])
def test_resume_is_exact(folder_of, monkeypatch, dataset, method, stop):
    """Killed after a checkpoint at any step, a run goes on to the same bytes."""
    whole = folder_of(config(dataset, method), "whole")
    interrupted_after(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        folder_of(config(dataset, method), "resumed")
    monkeypatch.undo()
    resumed = folder_of(config(dataset, method), "resumed")
    assert model_bytes(resumed) == model_bytes(whole)
    keep = [[row[:2] + row[3:] for row in csv.reader((f / "history.csv").open())] for f in (whole, resumed)]
    assert keep[0] == keep[1]
    assert resumed.ledger["training_flops"] == whole.ledger["training_flops"]
    assert not list((resumed / "checkpoints").iterdir())


def interrupted_after(monkeypatch, stop):
    """Checkpoint at every step, and die right after the one of step ``stop``."""
    save = Checkpoint.save

    def dying(self, path):
        save(self, path)
        if self.step == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "CHECKPOINT_PERIOD", -1.0)
    monkeypatch.setattr(Checkpoint, "save", dying)


CHANGES = {"seed": {"seed": 1}, "setting": {"settings": SETTINGS | {"steps": 3}}, "network": {"network": {"settings": {"width": 9}}}}


@pytest.mark.parametrize("changed", [*CHANGES, "revision", "default", "nothing"])
def test_only_the_same_run_is_resumed(folder_of, monkeypatch, capfd, changed):
    interrupted_after(monkeypatch, 20)
    with pytest.raises(KeyboardInterrupt):
        folder_of(config())
    monkeypatch.undo()
    if changed == "revision":
        monkeypatch.setattr(PCD, "revision", 2)
    if changed == "default":
        longer = pcd.PCDConfig.model_fields["restart"]
        monkeypatch.setattr(longer, "default", 0.25)
        pcd.PCDConfig.model_rebuild(force=True)
    folder_of(config(**CHANGES.get(changed, {})))
    assert ("resuming" in capfd.readouterr().err) == (changed == "nothing")
    monkeypatch.undo()
    pcd.PCDConfig.model_rebuild(force=True)


def test_config_json_is_resolved(folder_of):
    written = json.loads((folder_of(config()) / "config.json").read_text())
    assert written["settings"]["optimiser"]["schedule"] == "cosine"
    assert written["network"]["settings"] == {"width": 8, "depth": 2, "gain": 1.0}
    assert set(written["revisions"]) == {"training", "data:eight_gaussians", "method:pcd", "network:mlp", "sampler:ula"}


def test_training_anew_forgets_what_was_made_from_the_old_model(folder_of, prepared):
    folder = folder_of(config())
    sample(folder, prepared["eight_gaussians"], SamplingConfig(n=20, steps=2), "cpu")
    assert folder.verified("samples.safetensors")
    folder_of(config(settings=SETTINGS | {"steps": 3}))
    with pytest.raises(CorruptFile, match="not in the ledger"):
        folder.verified("samples.safetensors")


@pytest.mark.parametrize("content", ["{}", "[]", '{"status": "finished"}', "", "nonsense"])
def test_a_broken_ledger_is_named(folder_of, content):
    folder = folder_of(config())
    (folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json"):
        _ = folder.ledger


def test_a_device_that_is_not_there_is_refused(folder_of):
    with pytest.raises(ValueError, match="choose auto, cpu, cuda"):
        choose_device("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA GPU"):
            choose_device("cuda:1")


def test_a_damaged_checkpoint_is_named(folder_of, monkeypatch, tmp_path):
    interrupted_after(monkeypatch, 20)
    with pytest.raises(KeyboardInterrupt):
        folder_of(config())
    monkeypatch.undo()
    (path,) = (tmp_path / "results/runs/eight_gaussians/pcd/seed0/checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged"):
        folder_of(config())


def test_divergence_is_a_result(folder_of, monkeypatch):
    plain = PCD.training_step

    def exploding(self, batch, generator):
        if int(self.learner.updates) == 7:
            with torch.no_grad():
                self.learner.network.network.head.bias.fill_(float("nan"))
        return plain(self, batch, generator)

    monkeypatch.setattr(PCD, "training_step", exploding)
    folder = folder_of(config())
    assert folder.ledger["status"] == "diverged"
    assert folder.ledger["step"] == 7
    assert [row["step"] for row in csv.DictReader((folder / "history.csv").open())] == ["1", "2", "3", "4", "5", "6", "7"]
    assert "nan" in folder.ledger["reason"]


def test_altered_files_are_not_used(folder_of):
    folder = folder_of(config())
    (folder / "model.safetensors").write_bytes(model_bytes(folder)[:-1])
    with pytest.raises(CorruptFile, match=r"model\.safetensors was altered"):
        folder.verified("model.safetensors")
    with pytest.raises(CorruptFile, match="not in the ledger"):
        folder.verified("samples.safetensors")


def test_a_run_that_does_not_exist_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="ebmpipe train"):
        _ = RunFolder.of(tmp_path, "a", "b", 0).ledger


def test_methods_of_the_users_own(folder_of):
    folder = folder_of(config(method="ebmpipe.methods.template:Template", label="mine", settings={"batch_size": 16, "negatives": 16}))
    assert folder.ledger["status"] == "finished"
