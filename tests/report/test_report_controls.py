"""The check that held-out data come out first and noise last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ebmpipe import collecting
from ebmpipe.report import ranking
from ebmpipe.report.controls import checks, in_words
from ebmpipe.report.frames import read_tables
from ebmpipe.report.overview import write_overview

Make = Callable[..., Path]


def collected(folder: Path, *labels: str, seeds: tuple[int, ...] = (0,)) -> tuple[ranking.Comparison, pd.DataFrame]:
    results = folder.parents[3]
    collecting.collect(results, {"plane": {label: list(seeds) for label in labels}})
    table = pd.read_csv(results / "tables/controls.csv", keep_default_na=False, dtype=str).set_index("metric")
    return ranking.compare(*read_tables(results))[0], table


def test_controls_in_their_places(make_run: Make) -> None:
    make_run("data", 0, {"mmd": 0.1, "precision": 0.9, "log_z": 9.0})
    make_run("pcd", 0, {"mmd": 0.2, "precision": 0.8, "log_z": 1.0})
    folder = make_run("noise", 0, {"mmd": 0.9, "precision": 0.0, "log_z": 5.0})
    found, table = collected(folder, "data", "pcd", "noise")
    assert list(table.columns) == ["dataset", "data_first", "noise_last", "exceptions"]
    assert set(table.index) == {"mmd", "precision"}, "what is neither better nor worse has no first and last"
    assert set(table["data_first"]) == set(table["noise_last"]) == {"True"} and set(table["exceptions"]) == {""}
    words = in_words("plane", checks(found))
    assert words == (
        "plane: data is first in 2 of 2 metrics, noise is last in 2 of 2 metrics, ties within two standard errors included; "
        "exceptions: none."
    )


@pytest.mark.parametrize(("metric", "sign"), [("mmd", 1), ("precision", -1)])
def test_exceptions_are_named(make_run: Make, metric: str, sign: int) -> None:
    for label, value in {"data": 0.2, "copy": 0.1, "pcd": 0.5, "lost": 1.0, "noise": 0.9}.items():
        folder = make_run(label, 0, {metric: sign * value})
    found, table = collected(folder, "data", "copy", "pcd", "lost", "noise")
    assert table.loc[metric, ["data_first", "noise_last"]].tolist() == ["False", "False"]
    assert table.loc[metric, "exceptions"] == "copy before data; lost behind noise"
    line = f"Controls on {in_words('plane', checks(found))}"
    assert f"exceptions: {metric} (copy before data; lost behind noise)." in line
    results = folder.parents[3]
    assert line.removeprefix("Controls on ") in (results / "tables/summary.md").read_text()
    write_overview(results, results / "overview.rst")
    assert f"<li>{line}</li>" in (results / "overview.rst").read_text()


def test_noise_before_data_is_an_exception(make_run: Make) -> None:
    for label, value in {"data": 0.9, "noise": 0.1}.items():
        folder = make_run(label, 0, {"mmd": value})
    assert collected(folder, "data", "noise")[1].loc["mmd", "exceptions"] == "noise before data"


def test_ties_within_two_standard_errors_are_in_order(make_run: Make) -> None:
    # √(0.1² + 0.1²) = 0.141: 0.27 apart is a tie, 0.30 is none.
    for label, value in {"data": 0.0, "near": -0.27, "far": -0.30}.items():
        folder = make_run(label, 0, {"mmd": value}, stderr=0.1)
    assert collected(folder, "data", "near", "far")[1].loc["mmd", "exceptions"] == "far before data"


def test_the_spread_over_seeds_counts_as_its_standard_error(make_run: Make) -> None:
    # The seeds' deviation of 0.2 leaves 0.1 over four of them, and the data have none: 0.19 is a tie, 0.21 is none.
    spread = [0.1 * 3**0.5 * sign for sign in (1, -1, 1, -1)]
    for label, value in {"data": 0.0, "near": -0.19, "far": -0.21}.items():
        for seed in range(4):
            folder = make_run(label, seed, {"mmd": value + (0.0 if label == "data" else spread[seed])})
    assert collected(folder, "data", "near", "far", seeds=(0, 1, 2, 3))[1].loc["mmd", "exceptions"] == "far before data"


def test_other_samples_are_rows_too_and_intervals_are_none(make_run: Make) -> None:
    make_run("data", 0, {"mmd": 0.1, "nll": 2.0})
    make_run("short_run", 0, {"mmd": 0.3, "mmd@own": 0.05, "nll": "interval: wide", "nll_lower": 1.0, "nll_upper": 3.0})
    folder = make_run("nce", 0, {"mmd": 0.3, "nll": 2.5})
    table = collected(folder, "data", "short_run", "nce")[1]
    assert table.loc["mmd", "exceptions"] == "short_run@own before data" and table.loc["nll", "exceptions"] == ""
    assert "nll_lower" not in table.index


def test_a_control_without_a_value_is_left_blank(make_run: Make) -> None:
    make_run("data", 0, {"nll": "not available: no energy", "mmd": 0.1})
    make_run("pcd", 0, {"nll": 2.0, "mmd": 0.2, "precision": 0.5})
    folder = make_run("noise", 0, {"nll": 3.0, "mmd": 0.9})
    found, table = collected(folder, "data", "pcd", "noise")
    assert table.loc["nll", ["data_first", "noise_last"]].tolist() == ["", "True"] and "precision" not in table.index
    assert "data is first in 1 of 1 metrics, noise is last in 2 of 2 metrics" in in_words("plane", checks(found))


def test_without_controls_nothing_is_claimed(make_run: Make) -> None:
    folder = make_run("pcd", 0, {"mmd": 0.2})
    found, table = collected(folder, "pcd")
    assert not len(table) and in_words("plane", checks(found)) == "plane: no metric has a value of a control and of a method."
