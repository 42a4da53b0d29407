"""Running the workflow in a folder of its own, from the project or from a copy of it that a test may change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "config.yaml"
#: Modules of methods of a user's own.
OWN = ROOT / "tests" / "stages" / "own"

Snakemake = Callable[..., "subprocess.CompletedProcess[str]"]
#: A rule and its wildcards.
Job = tuple[str, str]


def command(
    folder: Path, *arguments: str, project: Path = ROOT, configfiles: tuple[Path, ...] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command that runs Snakemake in a folder, and its environment."""
    variables = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    variables["PYTHONPATH"] = os.pathsep.join([str(OWN), *([str(project)] if project != ROOT else [])])
    words = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(project / "Snakefile"), "--directory", str(folder)]
    files = (folder / "config.yaml",) if configfiles is None else configfiles
    words += ["--configfile", *map(str, files)] if files else []
    return words, os.environ | variables


@pytest.fixture(scope="session")
def snakemake() -> Snakemake:
    """Run Snakemake in a folder, with this interpreter's commands first in the path; the config is config.yaml there unless given."""

    def run(folder: Path, *arguments: str, **where: Any) -> subprocess.CompletedProcess[str]:
        words, environment = command(folder, *arguments, **where)
        return subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder, check=False)

    return run


@pytest.fixture(scope="session")
def start_snakemake() -> Callable[..., subprocess.Popen[str]]:
    """The same in the background, with what it says in snakemake.log."""

    def start(folder: Path, *arguments: str, **where: Any) -> subprocess.Popen[str]:
        words, environment = command(folder, *arguments, **where)
        # Into a file: a pipe that nobody reads fills up, and a child that outlives its parent would keep it open.
        with (folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log, text=True)

    return start


@pytest.fixture(scope="session")
def write_config() -> Callable[..., Path]:
    """Write the tiny config, on one seed and with changes, into a folder."""

    def write(folder: Path, **changes: object) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"results": "results", "seeds": [0]} | changes, sort_keys=False))
        return path

    return write


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of all that the Snakefile reads, the package included."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, copy / name)
    for name in ("workflow", "config", "ebmpipe"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="session")
def planned(snakemake: Snakemake) -> Callable[..., set[Job]]:
    """The jobs that a run would start, each with its wildcards."""

    def jobs(folder: Path, *arguments: str, **where: object) -> set[Job]:
        done = snakemake(folder, "--dry-run", *arguments, **where)
        assert done.returncode == 0, done.stderr
        blocks = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", done.stdout + done.stderr, re.MULTILINE)
        found = [(rule, "".join(re.findall(r"^    wildcards: (.*)$", body, re.MULTILINE))) for rule, body in blocks]
        assert len(set(found)) == len(found)
        assert found or "Nothing to be done" in done.stdout + done.stderr
        return set(found)

    return jobs
