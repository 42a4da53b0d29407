"""A run that diverges is a result: recorded with step, reason and last good state, wherever it happens."""

import csv
import json
import re

import pytest
import torch
from small_runs import PCD as PCD_SETTINGS
from small_runs import QUICK, sample_and_evaluate, small

from ebmpipe.checkpoint import Checkpoint, load_model
from ebmpipe.files import read_arrays
from ebmpipe.methods.base import Samples
from ebmpipe.methods.dsm import DSM
from ebmpipe.methods.pcd import PCD
from ebmpipe.report.frames import compute_frame, metrics_frame
from ebmpipe.report.reading import Run


def failing_at(monkeypatch, method, step, damage):
    """Before the update of number ``step``, do ``damage`` to the method."""
    plain = method.training_step

    def training_step(self, batch, generator):
        if int(self.learner.updates) == step:
            with torch.no_grad():
                damage(self)
        return plain(self, batch, generator)

    monkeypatch.setattr(method, "training_step", training_step)


def spoil_energy(value):
    def damage(method):
        method.live.network.head.bias.fill_(value)

    return damage


def spoil_gradient(method):
    """Energies at the data stay what they are; only their slopes overflow."""
    for parameter in method.live.parameters():
        parameter.register_hook(lambda gradient: gradient * torch.inf)


@pytest.mark.parametrize(
    ("settings", "damage", "reason"),
    [
        ({}, spoil_energy(torch.nan), "energy is nan"),
        ({}, spoil_energy(torch.inf), "energy is inf"),
        ({}, spoil_energy(2e8), r"the largest energy, 2e\+08, is beyond the bound 1e\+08"),
        ({"optimiser": {"loss_bound": 1e-6}}, lambda method: None, r"the loss, .* is beyond the bound 1e-06"),
        ({"optimiser": {"gradient_bound": 1e-6}}, lambda method: None, r"the gradient's norm, .* is beyond the bound 1e-06"),
        ({}, spoil_gradient, "the gradient's norm is (nan|inf)"),
    ],
)
def test_step_reason_and_last_good_state_are_recorded(folder_of, monkeypatch, settings, damage, reason):
    """The model that is kept is that of a run which was ended just before, chains included."""
    settings = PCD_SETTINGS | settings
    stop = 0 if "optimiser" in settings else 7
    failing_at(monkeypatch, PCD, 7, damage)
    folder = folder_of(small(settings=settings))
    ledger = folder.ledger
    assert (ledger["status"], ledger["step"], ledger["iterations"]) == ("diverged", stop, 60)
    assert re.search(reason, ledger["reason"]), ledger["reason"]
    assert ledger["gradient_evaluations"] == stop * 64
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, stop + 1))
    assert all(value not in ("nan", "inf", "-inf") for row in rows for value in row.values())
    monkeypatch.undo()
    state = load_model(folder / "model.safetensors")
    assert int(state["learner.updates"]) == stop
    good = state_after(folder_of, monkeypatch, small(settings=settings | {"optimiser": {}}), stop) if stop else None
    for name, value in state.items():
        if good is not None and not name.endswith("head.bias"):  # which the test itself spoiled
            assert torch.equal(value, good[name]), name


def state_after(folder_of, monkeypatch, configuration, step):
    """The state of an undisturbed run after so many updates."""
    kept = {}
    save = Checkpoint.save

    def watching(self, path):
        save(self, path)
        kept[self.step] = self.model

    monkeypatch.setattr(Checkpoint, "save", watching)
    folder_of(configuration, "undisturbed", checkpoint_period=0.0)
    return kept[step]


def test_a_resumed_run_that_diverges_at_once_is_recorded_like_one_that_was_never_interrupted(folder_of, monkeypatch):
    """The row of the last good update was in the checkpoint."""
    failing_at(monkeypatch, DSM, 7, spoil_energy(torch.nan))
    configuration = small(method="dsm", updates=400)
    whole = folder_of(configuration, "whole")
    save = Checkpoint.save

    def dying(self, path):
        save(self, path)
        if self.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        folder_of(configuration, checkpoint_period=0.0)
    monkeypatch.setattr(Checkpoint, "save", save)
    resumed = folder_of(configuration)
    rows = [[row["step"] for row in csv.DictReader((folder / "history.csv").open())] for folder in (whole, resumed)]
    assert rows[0] == rows[1] and rows[0][-1] == "7"
    assert resumed.ledger["step"] == whole.ledger["step"] == 7


def test_weights_that_the_last_update_spoils_are_found(folder_of, monkeypatch):
    plain = DSM.training_step

    def training_step(self, batch, generator):
        report = plain(self, batch, generator)
        if int(self.learner.updates) == 120:
            with torch.no_grad():
                next(self.learner.average.parameters()).fill_(torch.inf)
        return report

    monkeypatch.setattr(DSM, "training_step", training_step)
    ledger = folder_of(small(method="dsm")).ledger
    assert ledger["status"] == "diverged"
    assert "is not finite after the last update" in ledger["reason"]


def rows_of(folder):
    return json.loads((folder / "metrics.json").read_text())["rows"]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e19])
def test_samples_that_are_none_are_divergence_while_sampling(folder_of, prepared, monkeypatch, value):
    """Positions that are not finite, or so far out that their energy is beyond the bound."""
    folder = folder_of(small(method="dsm"))
    assert folder.ledger["status"] == "finished"
    plain = DSM.sample

    def sample(self, n, generator):
        drawn = plain(self, n, generator)
        drawn.x[3:5] = value
        return Samples(drawn.x, sampler_steps=5, gradient_evaluations=7)

    monkeypatch.setattr(DSM, "sample", sample)
    sample_and_evaluate(folder, prepared["eight_gaussians"])
    ledger = folder.ledger
    assert ledger["status"] == "diverged"
    assert ledger["reason"].startswith("sampling: 2 of 40 fresh samples")
    assert ledger["stages"]["train"]["status"] == "finished"
    assert ledger["stages"]["sample"]["gradient_evaluations"] == 7  # they were paid for
    arrays, metadata = read_arrays(folder / "samples.safetensors")
    assert not arrays and metadata["status"] == "diverged"
    assert {row["status"] for row in rows_of(folder)} == {"diverged"}
    run = Run(folder.path, "eight_gaussians", "dsm", 0)
    assert run.diverged and "2 of 40" in run.reason
    assert set(metrics_frame([run])["status"]) == {"diverged"}
    assert list(compute_frame([run])["status"]) == ["diverged"]
    # Sampling again, with what is wrong mended, the run has finished.
    monkeypatch.undo()
    sample_and_evaluate(folder, prepared["eight_gaussians"])
    assert folder.ledger["status"] == "finished" and folder.ledger["reason"] is None
    assert {row["status"] for row in rows_of(folder)} == {"ok"}


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_an_energy_that_is_none_where_it_is_measured_is_divergence(folder_of, prepared, monkeypatch, value):
    """Found by the evaluation: at training data and at samples all was well."""
    folder = folder_of(small(method="dsm"))
    plain = DSM.energy_function

    def energy_function(self):
        return lambda x: plain(self)(x).masked_fill(x[:, 0].abs() > 3.9, value)

    sample_and_evaluate(folder, prepared["eight_gaussians"])
    monkeypatch.setattr(DSM, "energy_function", energy_function)
    from ebmpipe.config import EvaluationConfig, PartitionConfig
    from ebmpipe.evaluation import evaluate

    for _ in range(2):  # what an evaluation found does not keep the next from looking again
        evaluate(folder, prepared["eight_gaussians"], EvaluationConfig(partition=PartitionConfig(**QUICK)), device="cpu")
        assert folder.ledger["status"] == "diverged"
        assert folder.ledger["reason"].startswith("evaluation: the energy is not finite at")
        assert {row["status"] for row in rows_of(folder)} == {"diverged"}
    monkeypatch.undo()
    evaluate(folder, prepared["eight_gaussians"], EvaluationConfig(partition=PartitionConfig(**QUICK)), device="cpu")
    assert folder.ledger["status"] == "finished"


def test_an_energy_of_plus_infinity_is_a_density_of_zero_and_no_divergence(folder_of, prepared, monkeypatch):
    folder = folder_of(small(method="dsm"))
    plain = DSM.energy
    sample_and_evaluate(folder, prepared["eight_gaussians"])
    monkeypatch.setattr(DSM, "energy", lambda self, x: plain(self, x).masked_fill(x[:, 0].abs() > 60, torch.inf))
    sample_and_evaluate(folder, prepared["eight_gaussians"])
    assert folder.ledger["status"] == "finished"
