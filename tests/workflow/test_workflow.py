"""The workflow itself, run end to end on the tiny config in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "config.yaml"
FIGURES = json.loads((ROOT / "workflow/schemas/catalogue.json").read_text())["figures"]

#: The tiny config's rows and one that is bound to diverge: a Langevin step a hundred times too long.
WILD = {"method": "pcd", "settings": {"kernel": {"name": "ula", "settings": {"step_size": 30}}, "optimiser": {"learning_rate": 1.0}}}
METHODS = yaml.safe_load(TINY.read_text())["methods"] | {"wild": WILD}


def snakemake(folder: Path, *arguments: str, configfile: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in ``folder`` on the project's Snakefile, with this interpreter's commands first in the path."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(configfile or folder / "config.yaml")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def write_config(folder: Path, **changes: object) -> Path:
    """The tiny config on one seed, with changes."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"results": "results", "seeds": [0]} | changes))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow")
    write_config(folder, methods=METHODS)
    run = snakemake(folder, "--cores", "2")
    logs = "".join(path.read_text()[-600:] for path in folder.rglob("results/logs/**/*.log") if "Traceback" in path.read_text())
    assert run.returncode == 0, run.stderr[-3000:] + logs
    return folder


def jobs(folder: Path, configfile: Path | None = None) -> Counter[str]:
    """Rule -> number of jobs that a dry run would start."""
    run = snakemake(folder, "--dry-run", "--quiet", "rules", configfile=configfile)
    assert run.returncode == 0, run.stderr
    planned = snakemake(folder, "--dry-run", configfile=configfile)
    return Counter(re.findall(r"^(?:local)?rule (\w+):$", planned.stdout + planned.stderr, re.MULTILINE))


def test_every_product_is_there(finished: Path) -> None:
    results = finished / "results"
    for table in ("metrics.csv", "summary.csv", "summary.md", "summary.tex", "compute.csv"):
        assert (results / "tables" / table).stat().st_size
    for dataset, kind in (("eight_gaussians", "density"), ("digits", "images")):
        for figure, entry in FIGURES.items():
            if kind in entry["kinds"]:
                assert (results / f"figures/{dataset}/{figure}.png").stat().st_size
                assert (results / f"figures/{dataset}/{figure}.pdf").stat().st_size
    assert (results / "report/overview.rst").stat().st_size


def test_tables_keep_their_contract(finished: Path) -> None:
    metrics = pd.read_csv(finished / "results/tables/metrics.csv")
    assert list(metrics) == ["dataset", "method", "seed", "metric", "value", "stderr", "n", "status", "unit"]
    assert not metrics.duplicated(["dataset", "method", "seed", "metric"]).any()
    assert (metrics["value"].isna() == (metrics["status"] != "ok")).all()
    assert set(metrics[metrics["dataset"] == "eight_gaussians"]["method"]) == set(METHODS)
    found = set(metrics["metric"])
    assert found >= {"nll", "nll_gap", "log_z", "mmd", "sliced_wasserstein", "frechet_lenet", "kernel_lenet", "mmd@persistent"}
    compute = pd.read_csv(finished / "results/tables/compute.csv")
    assert set(compute) >= {
        *("wall_s", "startup_s", "device", "peak_memory_mb", "parameters"),
        *("training_flops", "gradient_evaluations", "sampler_steps", "temperature"),
    }
    assert len(compute) == 9


def test_a_diverged_run_is_a_result(finished: Path) -> None:
    ledger = json.loads((finished / "results/runs/eight_gaussians/wild/seed0/run.json").read_text())
    assert ledger["status"] == "diverged"
    assert ledger["reason"]
    metrics = pd.read_csv(finished / "results/tables/metrics.csv")
    wild = metrics[metrics["method"] == "wild"]
    assert len(wild)
    assert (wild["status"] == "diverged").all()
    assert wild["value"].isna().all()
    (row,) = [line for line in (finished / "results/tables/summary.md").read_text().splitlines() if line.startswith("| `wild`")]
    assert "0/1" in row
    assert "**" not in row


def test_a_second_run_does_nothing(finished: Path) -> None:
    assert not jobs(finished)


def test_a_changed_setting_reruns_one_label_and_what_hangs_from_it(finished: Path) -> None:
    (finished / "changed").mkdir(exist_ok=True)
    changed = write_config(finished / "changed", methods=METHODS | {"nce": {"settings": {"ratio": 2}}})
    planned = jobs(finished, changed)
    assert {rule: planned[rule] for rule in ("prepare", "features", "train", "sample", "evaluate", "collect")} == {
        "prepare": 0,
        "features": 0,
        "train": 1,
        "sample": 1,
        "evaluate": 1,
        "collect": 1,
    }


def test_an_added_seed_adds_only_itself(finished: Path) -> None:
    (finished / "seeds").mkdir(exist_ok=True)
    planned = jobs(finished, write_config(finished / "seeds", methods=METHODS, seeds=[0, 1]))
    # digits keeps its own seed list in this config
    assert (planned["train"], planned["sample"], planned["evaluate"], planned["prepare"]) == (6, 6, 6, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seedz": [1]}, "'seedz' is unknown. Did you mean 'seeds'?"),
        ({"datasets": {"eight_gausians": {}}}, "Did you mean 'eight_gaussians'?"),
        ({"datasets": {"mnist": {"optional": True}}, "raw_data": "/nowhere"}, "mnist is left out"),
    ],
)
def test_a_bad_config_ends_before_any_job(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_config(tmp_path, **change)
    run = snakemake(tmp_path, "--cores", "1")
    assert run.returncode != 0
    assert message in run.stderr
    assert "config.yaml" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "results").exists()


def test_an_optional_data_set_that_is_not_at_hand_is_left_out_with_a_notice(tmp_path: Path) -> None:
    write_config(tmp_path, datasets={"eight_gaussians": {}, "mnist": {"optional": True}}, raw_data="/nowhere")
    run = snakemake(tmp_path, "--dry-run")
    assert run.returncode == 0
    assert "mnist is left out" in run.stdout + run.stderr
