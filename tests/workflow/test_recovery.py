"""A workflow whose jobs are killed or whose files are damaged comes to the same results, to the byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Snakemake = Callable[..., Any]
WriteConfig = Callable[..., Path]

#: A run that takes some seconds, in which a checkpoint is written at every update.
LONG = {"defaults": {"density": {"gradient_evaluations": 1_500_000, "sampling": {"n": 200, "steps": 5}, "evaluation": {"grid": 30}}}}
LONG |= {"methods": {"nce": {"settings": {"batch_size": 256}}}, "datasets": {"eight_gaussians": {}}}
RUN = "results/runs/eight_gaussians/nce/seed0"
PRODUCTS = [f"{RUN}/{name}" for name in ("model.safetensors", "samples.safetensors", "metrics.json", "arrays.npz")]
PRODUCTS.append("results/tables/metrics.csv")


def products(folder: Path) -> dict[str, bytes]:
    """What must be the same, however it came about."""
    return {name: (folder / name).read_bytes() for name in PRODUCTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, snakemake: Snakemake, write_config: WriteConfig) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_config(folder, **LONG)
    done = snakemake(folder, "--cores", "1", "tables")
    assert done.returncode == 0, done.stderr
    return folder


def wait_for(truth: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


@pytest.mark.parametrize("victim", ["job", "workflow"])
def test_killed_and_run_again_it_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: Path, snakemake: Snakemake, write_config: WriteConfig, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training job, or Snakemake, whose job then goes on as an orphan while the next workflow wants to do the same."""
    monkeypatch.setenv("EBMPIPE_CHECKPOINT_PERIOD", "0.05")
    write_config(tmp_path, **LONG)
    variables = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "tables", "--configfile", "config.yaml"]
    command += ["--snakefile", str(Path(__file__).parents[2] / "Snakefile")]
    first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: bool(list((tmp_path / RUN / "checkpoints").glob("*.safetensors"))))
    trainer = int((tmp_path / RUN / ".lock").read_text().split()[1])
    os.kill(trainer if victim == "job" else first.pid, signal.SIGKILL)
    assert first.wait(120) != 0
    if victim == "workflow":
        assert snakemake(tmp_path, "--unlock").returncode == 0
    done = snakemake(tmp_path, "--cores", "1", "tables")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "results/logs/train/eight_gaussians/nce/seed0.log").read_text()
    assert ("resuming" if victim == "job" else "waiting for it") in log
    assert products(tmp_path) == products(undisturbed)


def test_a_damaged_model_is_refused_repaired_and_made_again(tmp_path: Path, undisturbed: Path, snakemake: Snakemake) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    model = tmp_path / RUN / "model.safetensors"
    content = model.read_bytes()
    model.write_bytes(content[:-7])
    refused = snakemake(tmp_path, "--cores", "1", "tables")
    assert refused.returncode != 0
    assert f"{RUN}/model.safetensors was altered after it was written" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    command = [sys.executable, "-m", "ebmpipe.cli", "verify"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "model.safetensors was altered" in found.stdout
    repaired = subprocess.run([*command, "--repair"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert repaired.returncode == 0
    assert "removed" in repaired.stdout
    again = snakemake(tmp_path, "--cores", "1", "tables")
    assert again.returncode == 0, again.stderr
    assert products(tmp_path) == products(undisturbed)
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0
