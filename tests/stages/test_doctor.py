"""`ebmpipe doctor`: what is missing is found, told in plain words, and never a traceback."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ebmpipe import doctor, machine
from ebmpipe.cli import app
from ebmpipe.config import RunConfig
from ebmpipe.features import inception
from ebmpipe.features.base import write_network
from ebmpipe.findings import as_json, as_text, examine, to_do
from ebmpipe.training import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No raw data of this machine, no GPU of this machine, no folder of this machine."""
    monkeypatch.delenv("EBMPIPE_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "has_nvidia_driver", lambda: False)
    monkeypatch.chdir(tmp_path)


def examined(tmp_path, **options):
    return doctor.examined(**{"results": tmp_path / "results"} | options)


def states(findings, state):
    return {finding.name: finding for finding in findings if finding.state == state}


def told(*arguments):
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def test_a_healthy_machine_can_run_the_default_comparison(tmp_path):
    code, text = told("--results", str(tmp_path / "results"))
    assert code == 0
    for expected in ("version", "commit", "torch", "supported: ", "cores", "OMP_NUM_THREADS", "GB free", "two_moons", "built in"):
        assert expected in text
    assert re.search(r"config.yaml +ready: \d+ runs on \d+ data sets", text)
    assert not (tmp_path / "results").exists(), "an examination leaves nothing behind"


def test_optional_data_that_are_not_here_are_named_with_what_to_do(tmp_path):
    _, text = told("--results", str(tmp_path / "results"))
    assert re.search(r"^! full.yaml +mnist is left out", text, re.MULTILINE)
    assert "mnist" in text.partition("What to do")[2]


def test_the_json_says_the_same(tmp_path):
    code, text = told("--json", "--results", str(tmp_path / "results"))
    found = json.loads(text)
    assert (code, found["ok"]) == (0, True)
    assert {"section", "name", "value", "state", "advice"} == set(found["findings"][0])
    assert {f["section"] for f in found["findings"]} >= {"ebmpipe", "software", "tools", "machine", "data", "results", "experiments"}


def versions_with(monkeypatch, name, version):
    plain = metadata.version

    def known(asked):
        if asked != name:
            return plain(asked)
        if version is None:
            raise metadata.PackageNotFoundError(asked)
        return version

    monkeypatch.setattr(metadata, "version", known)


@pytest.mark.parametrize("name", ["scipy", "snakemake"])
def test_a_missing_distribution_is_broken(monkeypatch, tmp_path, name):
    versions_with(monkeypatch, name, None)
    code, text = told("--results", str(tmp_path / "results"))
    assert code == 1
    assert f"✗ {name}" in text
    assert f"1. install {name} " in text.partition("What to do")[2]


def test_a_missing_tool_of_developers_breaks_nothing(monkeypatch, tmp_path):
    versions_with(monkeypatch, "ruff", None)
    found = examined(tmp_path)
    assert "ruff" in states(found, "warning")
    assert as_json(found)["ok"]


def test_a_version_outside_the_range_is_flagged(monkeypatch, tmp_path):
    versions_with(monkeypatch, "numpy", "1.26.4")
    finding = states(examined(tmp_path), "warning")["numpy"]
    assert finding.value == "1.26.4, outside the supported range <3,>=2.0"
    assert "make environment" in finding.advice


def test_a_broken_torch_is_a_finding(monkeypatch, tmp_path):
    plain = machine.importlib.import_module

    def importing(name):
        if name == "torch":
            raise OSError("libtorch_cpu.so: cannot open shared object file")
        return plain(name)

    monkeypatch.setattr(machine.importlib, "import_module", importing)
    found = states(examined(tmp_path), "broken")
    assert "libtorch_cpu.so" in found["torch"].value


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(machine, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "make environment TORCH=cuda" in states(examined(tmp_path), "warning")["device"].advice


def test_results_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    code, text = told("--results", str(tmp_path / "file" / "results"))
    assert code == 1
    assert "cannot be written" in text.partition("What to do")[2]


def test_runs_are_counted_and_damaged_ones_named(prepared, tmp_path):
    results = tmp_path / "results"
    for seed in (0, 1):
        train(RunConfig(dataset="eight_gaussians", label="noise", method="noise", seed=seed), prepared["eight_gaussians"], results, "cpu")
    (results / "runs/eight_gaussians/noise/seed1/run.json").write_text("{}")
    unfinished = results / "runs/eight_gaussians/pcd/seed0/checkpoints"
    unfinished.mkdir(parents=True)
    (unfinished / "abc.safetensors").write_bytes(b"")
    found = examined(tmp_path)
    counts = next(finding.value for finding in found if finding.name == "runs")
    assert counts == "1 damaged, 1 finished, 1 unfinished, with a checkpoint"
    assert "damaged" in states(found, "warning")["eight_gaussians/noise/seed1"].value
    assert any("verify --repair" in line for line in to_do(found))
    assert as_json(found)["ok"], "the runs that are sound can be used"


def test_feature_networks_are_named_with_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("EBMPIPE_WEIGHTS_DIR", raising=False)
    folder = tmp_path / "results/features/digits"
    for name in ("lenet", "autoencoder"):
        write_network(folder, name, {"w": np.ones(3)}, {})
    found = {finding.name: finding for finding in examined(tmp_path) if finding.section == "feature networks"}
    assert found["inception"].value.startswith("not available: ") and found["inception"].state == "ok"
    assert found["of digits"].value == f"autoencoder, lenet in {folder}"
    assert found["of mnist"].value == "lenet made by the workflow when needed"
    assert "of eight_gaussians" not in found
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / inception.WEIGHTS.file).write_bytes(b"")
    monkeypatch.setattr(inception, "package_folder", lambda: tmp_path)
    assert "--network inception --download" in {finding.name: finding.value for finding in examined(tmp_path)}["inception"]
    config = tmp_path / "mine.yaml"
    config.write_text((ROOT / "config/config.yaml").read_text() + f"weights: {tmp_path / 'mine'}\n")
    (folder / "lenet.json").write_text("{}")
    found = {finding.name: finding for finding in examined(tmp_path, config=config)}
    assert found["inception"].value == "available"
    assert found["of digits"].value.endswith("; inception made by the workflow when needed")
    assert found["lenet of digits"].state == "warning" and "verify --repair" in found["lenet of digits"].advice


def test_a_raw_data_folder_that_is_not_there(tmp_path):
    finding = states(examined(tmp_path, raw=tmp_path / "nowhere"), "warning")["raw data"]
    assert "EBMPIPE_DATA_DIR" in finding.advice


def test_raw_data_are_found_where_the_data_set_looks(tmp_path):
    from ebmpipe.data.mnist import MNIST

    (tmp_path / "raw/mnist").mkdir(parents=True)
    for name in MNIST.raw_choices[0]:
        (tmp_path / "raw/mnist" / f"{name}.gz").write_bytes(b"")
    found = {finding.name: finding.value for finding in examined(tmp_path, raw=tmp_path / "raw")}
    assert found["mnist"] == f"in {tmp_path / 'raw/mnist'}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("seed: [0]\n", "'seed'"), ("methods: [", "not valid YAML"), (None, "no such file")],
)
def test_a_config_that_cannot_run(tmp_path, text, expected):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text((ROOT / "config/config.yaml").read_text() + text)
    code, out = told("--config", str(path), "--results", str(tmp_path / "results"))
    assert code == 1
    assert expected in out.partition("What to do")[2]


def test_only_the_default_config_is_essential(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    (tmp_path / "config/config.yaml").write_text((ROOT / "config/config.yaml").read_text())
    (tmp_path / "config/other.yaml").write_text("results: x\n")
    found = examined(tmp_path, project=tmp_path)
    assert "other.yaml" in states(found, "warning")
    assert as_json(found)["ok"]
    (tmp_path / "config/config.yaml").unlink()
    assert "config.yaml" in states(examined(tmp_path, project=tmp_path), "broken")


def test_outside_a_checkout_the_workflow_is_not_here(tmp_path):
    found = examined(tmp_path, project=tmp_path)
    assert "get the repository" in states(found, "warning")["workflow"].advice


def test_an_examination_that_breaks_down_hides_no_other():
    def breaking():
        raise RuntimeError("boom\nsecond line")
        yield

    (finding,) = examine("machine", breaking)
    assert (finding.state, finding.value) == ("broken", "failed (RuntimeError: boom)")
    assert "boom" in as_text([finding]).partition("What to do")[2]


@pytest.mark.parametrize(("module", "expected"), [("ebmpipe.doctor", "reinstall pydantic"), ("ebmpipe.cli", "python -m ebmpipe.doctor")])
def test_what_the_command_line_itself_needs_may_be_broken(tmp_path, module, expected):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/pydantic.py").write_text("raise ImportError('pydantic is broken')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    command = [sys.executable, "-m", module, *(["doctor"] if module == "ebmpipe.cli" else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert expected in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
