"""Data of the user's own in the workflow: made again when their content or how it is read has changed, and not when they were moved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pictures import noise, write

QUICK = {"repeats": 4, "chains": 8, "pilot_chains": 32, "variance": 1.0, "most_levels": 10, "base": "own"}
OWN = {
    "methods": {"data": {}},
    "defaults": {
        "images": {"evaluation": {"features": ["lenet"], "metrics": ["mmd"], "partition": QUICK}},
        "vectors": {"evaluation": {"metrics": ["mmd"], "partition": QUICK}, "sampling": {"n": 20}},
    },
}


def test_own_data_are_made_again_when_they_have_changed(
    tmp_path: Path, project: Path, snakemake: Callable, write_config: Callable, planned: Callable
) -> None:
    faces, table = tmp_path / "faces", tmp_path / "table.csv"
    for number, levels in enumerate(noise(60, 3, 8, 8)):
        write(faces / "ab"[number % 2] / f"{number}.png", levels)
    np.savetxt(table, np.random.default_rng(0).normal(size=(60, 3)), delimiter=",")
    few = {"validation": 10, "test": 10}

    def config(place: Path, **how: object) -> None:
        datasets = {"faces": {"files": {"path": str(place), **few, **how}}, "table": {"files": {"path": "table.csv", **few}}}
        datasets["gone"] = {"files": {"path": "nowhere"}, "optional": True}
        write_config(tmp_path, **OWN, datasets=datasets)

    config(faces)
    first = planned(tmp_path, project=project)
    assert {job for job in first if job[0].startswith("prepare")} == {("prepare_own", "dataset=faces"), ("prepare_own", "dataset=table")}
    done = snakemake(tmp_path, "--cores", "1", "results/data/faces/card.json", "results/data/table/card.json", project=project)
    assert done.returncode == 0, done.stderr
    assert "gone is left out" in done.stderr

    def made_again() -> set[str]:
        return {wildcards for rule, wildcards in planned(tmp_path, project=project) if rule == "prepare_own"}

    assert made_again() == set()
    shutil.copytree(faces, tmp_path / "moved")
    shutil.rmtree(faces)
    config(tmp_path / "moved")
    table.touch()
    assert made_again() == set()
    table.write_text(table.read_text() + "1,2,3\n")
    assert made_again() == {"dataset=table"}
    config(tmp_path / "moved", size=4)
    assert made_again() == {"dataset=table", "dataset=faces"}
