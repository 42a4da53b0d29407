"""The Makefile's targets call what they promise, inside the environment."""

import os
import re
from pathlib import Path

import pytest

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text()


@pytest.fixture
def ready(checkout):
    """A checkout whose environment is made; snakemake writes down how it was called."""
    checkout.python(wheel="2.13.0+cpu")
    assert checkout.make_environment(TORCH="cpu")[0] == 0
    log = checkout.folder / "snakemake-calls"
    checkout.command("ebmpipe", "exit 0", checkout.root / ".venv" / "bin")
    checkout.command("snakemake", f'echo "${{PATH%%:*}}" snakemake "$@" >>{log}', checkout.root / ".venv" / "bin")
    return checkout


def snakemake_calls(checkout) -> list[str]:
    return (checkout.folder / "snakemake-calls").read_text().replace(f"{checkout.root}/", "").splitlines()


STYLE = "--report-stylesheet workflow/report/report.css"


def test_help_lists_every_target(checkout) -> None:
    done = checkout.run("make")
    assert done.returncode == 0
    targets = re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE)
    assert [line.split()[0] for line in done.stdout.split("\n\n")[0].splitlines()] == targets
    assert {"help", "run", "test", "lint", "format", "figures", "tables", "report", "schema", "clean"} <= set(targets)


def test_run_makes_results_and_report(ready) -> None:
    done = ready.run("make", "run")
    assert done.returncode == 0, done.stderr
    assert snakemake_calls(ready) == [".venv/bin snakemake --cores all", f".venv/bin snakemake --report results/report.html {STYLE}"]


def test_a_report_is_made_only_where_it_does_not_show_all(ready) -> None:
    results = ready.root / "results"
    for folder in ("tables", "figures", "report", "../workflow/report"):
        (results / folder).mkdir(parents=True, exist_ok=True)
    report, table = results / "report.html", results / "tables" / "summary.csv"
    for path, when in ((table, 100), (report, 200)):
        path.touch()
        os.utime(path, (when, when))
    for folder in (results / "tables", results / "figures", results / "report", ready.root / "workflow" / "report"):
        os.utime(folder, (100, 100))
    done = ready.run("make", "run")
    assert done.returncode == 0 and "shows all of this already" in done.stdout
    assert snakemake_calls(ready) == [".venv/bin snakemake --cores all"]
    os.utime(table, (300, 300))
    ready.run("make", "run")
    assert snakemake_calls(ready)[-1] == f".venv/bin snakemake --report results/report.html {STYLE}"


def test_a_config_that_cannot_be_read_ends_before_snakemake(ready) -> None:
    ready.command("ebmpipe", 'echo "$@"; exit 1', ready.root / ".venv" / "bin")
    done = ready.run("make", "run", "CONFIG=mine.yaml")
    assert done.returncode != 0
    assert done.stdout == "check --syntax mine.yaml\n"
    assert not (ready.folder / "snakemake-calls").exists()


def test_a_lock_can_be_taken_off(ready) -> None:
    ready.run("make", "unlock")
    assert snakemake_calls(ready) == [".venv/bin snakemake --unlock"]


def test_run_takes_config_cores_and_arguments(ready) -> None:
    (ready.root / "config").mkdir()
    (ready.root / "config" / "config.yaml").write_text("results: elsewhere\n")
    (ready.root / "mine.yaml").write_text('seeds: 1\nresults: "results/mine" # here\n')
    (ready.root / "other.yaml").write_text("seeds: 1\n")
    ready.run("make", "run", "CONFIG=mine.yaml", "CORES=2", "ARGS=--keep-going")
    ready.run("make", "report", "CONFIG=other.yaml")
    ready.run("make", "report")
    ready.run("make", "run", "ARGS=-n")
    assert snakemake_calls(ready) == [
        ".venv/bin snakemake --configfile mine.yaml --cores 2 --keep-going",
        f".venv/bin snakemake --configfile mine.yaml --report results/mine/report.html {STYLE} --keep-going",
        f".venv/bin snakemake --configfile other.yaml --report results/report.html {STYLE}",
        f".venv/bin snakemake --report elsewhere/report.html {STYLE}",
        ".venv/bin snakemake --cores all -n",
    ]


@pytest.mark.parametrize("target", ["figures", "tables"])
def test_a_part_of_the_workflow(ready, target: str) -> None:
    ready.run("make", target, "CORES=1")
    assert snakemake_calls(ready) == [f".venv/bin snakemake --cores 1 {target}"]


def test_a_failing_workflow_fails(ready) -> None:
    ready.command("snakemake", "exit 1", ready.root / ".venv" / "bin")
    assert ready.run("make", "run").returncode != 0


def test_an_unknown_build_stops_every_target(ready) -> None:
    done = ready.run("make", "run", "TORCH=bogus")
    assert done.returncode != 0
    assert done.stderr.startswith("environment: there is no TORCH=bogus: use TORCH=auto, TORCH=cpu or TORCH=cuda.\n")
    assert not (ready.folder / "snakemake-calls").exists()


def test_clean_spares_results_and_environment(ready) -> None:
    kept = [ready.root / name for name in ("results/runs/model", ".venv/lib/__pycache__/a.pyc", ".snakemake/metadata/m", "ebmpipe/a.py")]
    gone = [ready.root / name for name in ("ebmpipe/data/__pycache__/a.pyc", ".mypy_cache/m", ".pytest_cache/p", "build/b")]
    for file in kept + gone:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert ready.run("make", "clean").returncode == 0
    assert [file for file in kept if not file.exists()] == []
    assert [file for file in gone if file.exists()] == []
    assert ready.run("make", "clean-results").returncode == 0
    assert not (ready.root / "results").exists()
