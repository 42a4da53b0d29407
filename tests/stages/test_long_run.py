"""The long-run stage: its record, its cost, its place among the other stages, and exact resume."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
from small_runs import small
from typer.testing import CliRunner

from ebmpipe.cli import app
from ebmpipe.config import EvaluationConfig, LongRunConfig, SamplingConfig
from ebmpipe.evaluation import evaluate
from ebmpipe.features.choosing import classifier_made
from ebmpipe.features.making import make_network
from ebmpipe.files import CorruptFile
from ebmpipe.interruption import Interrupted
from ebmpipe.long_run import CHECKPOINTS, long_run
from ebmpipe.mixing.chains import Walk
from ebmpipe.mixing.record import FILE, LongRun
from ebmpipe.runs import MADE_FROM, STAGES, onwards
from ebmpipe.sampling import sample
from ebmpipe.verifying import repair, verify

#: Few chains and steps; 100 of MALA and 33 of HMC.
SHORT = LongRunConfig(chains=8, steps=100, adaptation_steps=10, draws=25)
FAMILIES = EvaluationConfig(metrics=["mixing", "long_run", "energy_distance", "kernel_distance"], grid=20)


def rows_of(folder):
    """Rows of metrics.json by id."""
    return {row["metric"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}


@pytest.fixture
def trained(folder_of):
    return folder_of(small())


@pytest.fixture
def data(prepared):
    return prepared["eight_gaussians"]


def test_a_long_run_is_recorded_with_its_cost(trained, data):
    long_run(trained, data, SHORT, device="cpu")
    found, entry = LongRun.read(trained.verified(FILE)), trained.ledger["stages"]["long_run"]
    assert list(found.kernels) == ["mala", "hmc"] and found.modes == 8
    assert found.frame_steps.tolist() == [0, 1, 3, 10, 30, 100] and found.frames.shape == (6, 8, 2)
    for kernel, steps, each in zip(found.kernels.values(), (100, 33), (1, 3), strict=True):
        assert kernel.lost is None and kernel.about["steps"] == steps
        assert kernel.arrays["rhat"].shape == (2 + 1 + 9,)
        assert kernel.arrays["labels"].shape == (8, kernel.about["draws"])
        # Adaptation and chains each evaluate once where they start.
        assert kernel.about["gradient_evaluations"] == 8 * (1 + 10 * each) + 8 * (1 + steps * each)
    assert entry["status"] == "finished" and entry["chains"] == {"mala": "whole", "hmc": "whole"}
    assert entry["sampler_steps"] == 133
    assert entry["gradient_evaluations"] == 8 * (11 + 101) + 8 * (31 + 100)
    assert not (trained / CHECKPOINTS).exists()


def test_the_same_command_writes_the_same_bytes(trained, data):
    long_run(trained, data, SHORT, device="cpu")
    first = (trained / FILE).read_bytes()
    long_run(trained, data, SHORT, device="cpu")
    assert (trained / FILE).read_bytes() == first


def test_evaluation_reads_it_and_makes_its_end_a_source(trained, data):
    sample(trained, data, SamplingConfig(n=40, steps=5), "cpu")
    evaluate(trained, data, FAMILIES, device="cpu")
    before = rows_of(trained)
    assert (
        before["rhat"]["status"]
        == before["energy_drift"]["status"]
        == ("not available: no long run was made of it; `ebmpipe long-run` makes one")
    )
    long_run(trained, data, SHORT, device="cpu")
    assert not (set(trained.ledger["stages"]) & {"evaluate"}), "what was measured without it is forgotten"
    evaluate(trained, data, FAMILIES, device="cpu")
    rows = rows_of(trained)
    ids = ("rhat", "rhat@hmc", "ess_per_gradient", "mode_hops@hmc", "energy_drift", "quality_decay", "energy_distance@long_run")
    assert all(rows[name]["status"] == "ok" for name in ids)
    assert rows["energy_distance"] == before["energy_distance"], "what is measured of other samples stays as it is"
    with np.load(trained / "arrays.npz") as arrays:
        assert arrays["long_run/energy_distance"].shape == arrays["long_run/energy_distance_stderr"].shape == (6,)
        assert arrays["long_run/energy_distance"][-1] == pytest.approx(rows["energy_distance@long_run"]["value"], rel=1e-5)


def test_samples_and_long_runs_know_nothing_of_each_other(trained, data):
    long_run(trained, data, SHORT, device="cpu")
    sample(trained, data, SamplingConfig(n=40, steps=5), "cpu")
    assert {"sample", "long_run"} <= set(trained.ledger["stages"])
    long_run(trained, data, SHORT, device="cpu")
    assert {"sample", "long_run"} <= set(trained.ledger["stages"])
    trained.record("train", {})
    assert set(trained.ledger["stages"]) == {"train"}


def test_stages_follow_from_what_they_are_made_from():
    assert onwards("train") == list(STAGES)
    assert onwards("sample") == ["sample", "evaluate"] and onwards("long_run") == ["long_run", "evaluate"]
    assert all(set(made_from) <= set(STAGES[: STAGES.index(stage)]) for stage, made_from in MADE_FROM.items())


def test_a_run_without_an_energy_says_so(folder_of, prepared):
    folder = folder_of(small("digits", "data", settings={}))
    long_run(folder, prepared["digits"], SHORT, device="cpu")
    sample(folder, prepared["digits"], SamplingConfig(n=40), "cpu")
    evaluate(folder, prepared["digits"], FAMILIES, device="cpu")
    rows = rows_of(folder)
    assert rows["rhat"]["value"] is rows["energy_drift"]["value"] is None
    assert rows["rhat"]["status"] == "not available: the run has no energy: the density of the data is unknown"
    assert "energy_distance@long_run" not in rows
    assert folder.ledger["status"] == "finished"


def test_classes_of_images_are_told_after_the_jump(folder_of, prepared, tmp_path):
    folder = folder_of(small("digits", "dsm", network={"name": "mlp", "settings": {"width": 8}}))
    (folder.results / "data").mkdir(exist_ok=True)
    (folder.results / "data/digits").symlink_to(prepared["digits"])
    make_network("digits", "lenet", folder.results, 0)
    features = folder.results / "features/digits"
    config = SHORT.model_copy(update={"classifier": "lenet", "denoise": True})
    long_run(folder, prepared["digits"], config, features, "cpu")
    found = LongRun.read(folder.verified(FILE))
    assert found.modes == 10 and "lenet" in found.told_by
    assert set(np.unique(found.primary.arrays["labels"])) <= set(range(10))
    draws = found.primary.about["draws"]
    assert found.primary.about["gradient_evaluations"] == 8 * (11 + 101) + 8 * draws, "the jumps are paid for"
    assert folder.ledger["stages"]["long_run"]["gradient_evaluations"] == sum(
        kernel.about["gradient_evaluations"] for kernel in found.kernels.values()
    ) + 8 * len(found.frames)


def test_without_a_classifier_no_class_is_told(folder_of, prepared):
    folder = folder_of(small("digits", "noise", settings={}))
    long_run(folder, prepared["digits"], SHORT, device="cpu")
    found = LongRun.read(folder.verified(FILE))
    assert found.modes == 0 and "labels" not in found.primary.arrays
    with pytest.raises(ValueError, match="no labels or no folder of feature networks"):
        long_run(folder, prepared["digits"], SHORT.model_copy(update={"classifier": "lenet"}), None, "cpu")


def test_chains_that_are_lost_are_a_result(trained, data):
    long_run(trained, data, SHORT.model_copy(update={"energy_bound": 1e-3}), device="cpu")
    sample(trained, data, SamplingConfig(n=40, steps=5), "cpu")
    evaluate(trained, data, FAMILIES, device="cpu")
    rows, ledger = rows_of(trained), trained.ledger
    assert ledger["status"] == "finished" and "beyond the bound 0.001 at step 0" in ledger["stages"]["long_run"]["chains"]["mala"]
    for name in ("rhat", "rhat@hmc", "energy_drift", "quality_decay"):
        assert rows[name]["value"] is None and rows[name]["status"].startswith("not available: the chains diverged: 8 of 8"), name
    assert "energy_distance@long_run" not in rows


def test_training_that_diverged_leaves_a_record_that_says_so(folder_of, data):
    folder = folder_of(small(settings={"optimiser": {"loss_bound": 1e-12}, "batch_size": 16, "chains": 32, "steps": 2}))
    assert folder.training_divergence
    long_run(folder, data, SHORT, device="cpu")
    assert LongRun.read(folder.verified(FILE)).reason == folder.training_divergence


@pytest.mark.parametrize("after", [0, 7, 40, 70])
def test_a_long_run_that_was_killed_goes_on_to_the_same_bytes(trained, data, monkeypatch, after):
    """After ``after`` stops, among those of both kernels, with a checkpoint at every one."""
    long_run(trained, data, SHORT, device="cpu")
    whole, cost = (trained / FILE).read_bytes(), trained.ledger["stages"]["long_run"]["gradient_evaluations"]
    advance, count = Walk.advance, iter(range(1000))

    def killed(self, *arguments):
        if next(count) == after:
            raise KeyboardInterrupt
        return advance(self, *arguments)

    monkeypatch.setattr(Walk, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        long_run(trained, data, SHORT, device="cpu", checkpoint_period=0)
    monkeypatch.undo()
    (trained / FILE).unlink()
    done = []
    monkeypatch.setattr(Walk, "advance", lambda self, *arguments: done.append(1) or advance(self, *arguments))
    long_run(trained, data, SHORT, device="cpu", checkpoint_period=0)
    assert (trained / FILE).read_bytes() == whole
    assert trained.ledger["stages"]["long_run"]["gradient_evaluations"] == cost
    stops = len(LongRun.read(trained / FILE).primary.arrays["energy_steps"]) + len(
        LongRun.read(trained / FILE).kernels["hmc"].arrays["energy_steps"]
    )
    assert len(done) == stops - 2 - after, "nothing is done twice"


def test_a_signal_ends_it_with_a_checkpoint(trained, data, monkeypatch, capsys):
    long_run(trained, data, SHORT, device="cpu")
    whole = (trained / FILE).read_bytes()
    advance = Walk.advance

    def asked(self, *arguments):
        if self.step >= 30:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self, *arguments)

    monkeypatch.setattr(Walk, "advance", asked)
    with pytest.raises(Interrupted) as stop:
        long_run(trained, data, SHORT, device="cpu")
    assert stop.value.code == 128 + signal.SIGTERM and "the same command goes on" in capsys.readouterr().err
    assert list((trained / CHECKPOINTS).iterdir())
    monkeypatch.undo()
    long_run(trained, data, SHORT, device="cpu")
    assert (trained / FILE).read_bytes() == whole


def test_other_settings_do_not_go_on_from_a_checkpoint(trained, data, monkeypatch):
    def killed(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Walk, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        long_run(trained, data, SHORT, device="cpu", checkpoint_period=0)
    monkeypatch.undo()
    other = SHORT.model_copy(update={"chains": 6})
    long_run(trained, data, other, device="cpu")
    assert LongRun.read(trained / FILE).frames.shape[1] == 6


def test_a_model_that_was_trained_anew_meanwhile_is_noticed(trained, data, monkeypatch):
    advance = Walk.advance

    def retrained(self, *arguments):
        (trained / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes() + b" ")
        trained.record("train", {})
        monkeypatch.undo()
        return advance(self, *arguments)

    monkeypatch.setattr(Walk, "advance", retrained)
    with pytest.raises(CorruptFile, match="was trained anew"):
        long_run(trained, data, SHORT, device="cpu")


def test_damage_is_found_and_undone_alone(trained, data):
    long_run(trained, data, SHORT, device="cpu")
    sample(trained, data, SamplingConfig(n=40, steps=5), "cpu")
    evaluate(trained, data, FAMILIES, device="cpu")
    for name in (FILE, "samples.safetensors", "metrics.json"):
        (trained / name).write_bytes(b"damaged")
    findings = [found for found in verify(trained.results) if not hasattr(found, "parts")]
    assert [found.stage for found in findings] == ["sample", "long_run"]
    assert FILE in findings[1].problem and "metrics.json" in findings[0].problem
    for finding in findings:
        repair(finding, trained.results)
    assert set(trained.ledger["stages"]) == {"train"}
    assert not any((trained / name).exists() for name in (FILE, "samples.safetensors", "metrics.json"))


def test_by_hand_it_takes_the_defaults_of_the_data_and_the_classifier_that_was_made(prepared, folder_of, data):
    trained = folder_of(small())
    (trained.results / "data").mkdir()
    (trained.results / "data/eight_gaussians").symlink_to(data)
    where = ["--dataset", "eight_gaussians", "--label", "pcd", "--results", str(trained.results)]
    settings = '{"chains": 8, "steps": 60, "adaptation_steps": 5}'
    result = CliRunner().invoke(app, ["long-run", *where, "--settings", settings])
    assert result.exit_code == 0, result.output
    recorded = LongRun.read(trained / FILE).settings
    assert recorded["draws"] == 500 and recorded["classifier"] is None
    from ebmpipe.data.prepared import Prepared

    digits = Prepared(prepared["digits"]).spec
    assert classifier_made(digits, trained.results) is None
    (trained.results / "lenet.json").write_text("{}")
    assert classifier_made(digits, trained.results) == "lenet"
    assert "from over-dispersed starts" in CliRunner().invoke(app, ["long-run", "--help"]).output.replace("\n", " ")
