"""What numbers may be compared under stands below every table, once, and in a table of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ebmpipe import collecting
from ebmpipe.report import ranking, tables
from ebmpipe.report.frames import read_tables
from ebmpipe.report.protocols import merged, sharing

LENET = "lenet features (weights 1a2b3c4d), n = {n} samples and {n} of the test split, no resizing, not quantised"


@pytest.fixture
def collected(make_run: Callable[..., Path]) -> Path:
    """The folder of tables of three runs, one of which made fewer samples."""
    for label, seed, n in (("pcd", 0, 397), ("pcd", 1, 397), ("cd", 0, 100)):
        said = {metric: LENET.format(n=n) for metric in ("frechet_lenet", "precision", "frechet_lenet@noisy")}
        metrics = {"frechet_lenet": 1.0, "precision": 0.5, "frechet_lenet@noisy": 3.0, "nll": 2.0}
        absent = dict.fromkeys(("fid", "kid"), "not available: no weights")
        folder = make_run(label, seed, {**metrics, **absent}, protocols=said | {"mmd": "pixels"})
    results = folder.parents[3]
    collecting.collect(results, {"plane": {"pcd": [0, 1], "cd": [0]}})
    return results / "tables"


def test_one_line_says_it_of_all_metrics_with_the_range_of_n(collected: Path) -> None:
    found = ranking.compare(*read_tables(collected.parent))[0]
    said = "lenet features (weights 1a2b3c4d), n = 100 to 397 samples and 100 to 397 of the test split, no resizing, not quantised"
    assert found.protocols == {"frechet_lenet": said, "precision": said}
    for text in (tables.markdown([found]), tables.latex([found]), tables.html_tables([found])):
        assert text.count("1a2b3c4d") == 1
        assert text.replace("\\", "").count(f"frechet_lenet, precision: {said}") == 1
        assert text.count("not available: no weights") == 1
        assert "fid, kid are not available: no weights" in text
    assert (collected / "summary.md").read_text().count("1a2b3c4d") == 1


def test_the_table_of_protocols_has_every_one_of_them(collected: Path) -> None:
    frame = pd.read_csv(collected / "protocols.csv")
    assert list(frame) == ["dataset", "metric", "protocol", "n"]
    assert sorted(zip(frame["metric"], frame["protocol"], strict=True)) == sorted(
        (metric, LENET.format(n=n)) for metric in ("frechet_lenet", "precision", "frechet_lenet@noisy") for n in (100, 397)
    )
    assert set(frame["dataset"]) == {"plane"}


def test_without_protocols_nothing_is_said(make_run: Callable[..., Path]) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0})
    results = folder.parents[3]
    collecting.collect(results, {"plane": {"pcd": [0]}})
    assert len(pd.read_csv(results / "tables/protocols.csv")) == 0
    assert not ranking.compare(*read_tables(results))[0].protocols


def test_protocols_that_differ_in_more_than_sizes_are_all_told() -> None:
    other = LENET.replace("1a2b3c4d", "99999999")
    assert merged([LENET.format(n=5), other.format(n=5), LENET.format(n=7)]) == "; or ".join([LENET.format(n="5 to 7"), other.format(n=5)])
    assert merged(["n = 40 samples in 10 splits, {odd}"]) == "n = 40 samples in 10 splits, {odd}"


def test_what_is_said_of_several_metrics_is_said_once() -> None:
    assert sharing({"a": "x", "b": "y", "c": "x"}) == {"x": ["a", "c"], "y": ["b"]}
