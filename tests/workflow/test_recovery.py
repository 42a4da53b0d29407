"""A workflow whose jobs are killed or whose files are damaged comes to the same results, to the byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Snakemake = Callable[..., Any]
WriteConfig = Callable[..., Path]
Start = Callable[..., "subprocess.Popen[str]"]

#: A run that takes some seconds, in which a checkpoint is written at every update.
LONG = {"defaults": {"density": {"gradient_evaluations": 1_500_000, "sampling": {"n": 200, "steps": 5}, "evaluation": {"grid": 30}}}}
LONG |= {"methods": {"nce": {"settings": {"batch_size": 256}}}, "datasets": {"eight_gaussians": {}}}
RUN = "results/runs/eight_gaussians/nce/seed0"
LOG = "results/logs/train/eight_gaussians/nce/seed0.log"
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


@pytest.fixture
def interrupted(
    tmp_path: Path, start_snakemake: Start, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Snakemake in `tmp_path`, with a training job that has written a checkpoint; and the job's process."""
    monkeypatch.setenv("EBMPIPE_CHECKPOINT_PERIOD", "0.05")
    write_config(tmp_path, **LONG)
    workflow = start_snakemake(tmp_path, "--cores", "1", "tables")
    wait_for(lambda: bool(list((tmp_path / RUN / "checkpoints").glob("*.safetensors"))))
    yield workflow, int((tmp_path / RUN / ".lock").read_text().split()[1])
    workflow.kill()
    workflow.wait()


def test_after_its_job_is_killed_it_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: Path, snakemake: Snakemake, interrupted: tuple[subprocess.Popen[str], int]
) -> None:
    workflow, job = interrupted
    os.kill(job, signal.SIGKILL)
    assert workflow.wait(120) != 0
    done = snakemake(tmp_path, "--cores", "1", "tables")
    assert done.returncode == 0, done.stderr
    assert "resuming" in (tmp_path / LOG).read_text()
    assert products(tmp_path) == products(undisturbed)


def test_after_the_workflow_is_killed_it_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: Path, snakemake: Snakemake, start_snakemake: Start, interrupted: tuple[subprocess.Popen[str], int]
) -> None:
    """Its job goes on as an orphan while the next workflow wants to do the same; the orphan is held until they have met."""
    workflow, job = interrupted
    os.kill(job, signal.SIGSTOP)
    try:
        workflow.kill()
        assert workflow.wait(120) != 0
        assert snakemake(tmp_path, "--unlock").returncode == 0
        again = start_snakemake(tmp_path, "--cores", "1", "tables")
        log = tmp_path / LOG
        wait_for(lambda: log.exists() and "waiting for it" in log.read_text())
    finally:
        os.kill(job, signal.SIGCONT)
    assert again.wait(300) == 0, (tmp_path / "snakemake.log").read_text()
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
