"""Values that are only known to lie between two ends: intervals in place of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ebmpipe import collecting
from ebmpipe.metrics.base import MetricInfo
from ebmpipe.report import ranking, tables
from ebmpipe.report.frames import read_tables
from ebmpipe.report.numbers import interval

WIDE = "interval: the bracket of log Z is wider than 0.2 nats"


@pytest.fixture(autouse=True)
def known_ends(monkeypatch: pytest.MonkeyPatch, known: None) -> None:
    """The ends of brackets are metrics that the package knows, too."""
    infos = ranking.known_metrics() | {
        f"{metric}{end}": MetricInfo("nats", "lower", "an end") for metric in ("nll", "bits_per_dim") for end in ("_lower", "_upper")
    }
    monkeypatch.setattr(ranking, "known_metrics", lambda: infos)


def compared(folder: Path, labels: dict[str, list[int]]) -> ranking.Comparison:
    results = folder.parents[3]
    collecting.collect(results, {"plane": labels})
    return ranking.compare(*read_tables(results))[0]


def likelihood(value: float | str, low: float, high: float, **more: float | str) -> dict[str, float | str]:
    return {"nll": value, "nll_lower": low, "nll_upper": high, **more}


def cells(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{label}` |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.fixture
def mixed(make_run: Callable[..., Path]) -> ranking.Comparison:
    """One label with numbers and brackets, one with intervals, one with an interval of one seed, one without brackets."""
    for seed in (0, 1):
        make_run("sure", seed, likelihood(2.0 + seed / 10, 1.9, 2.2, mmd=0.3))
        make_run("wide", seed, likelihood(WIDE, 1.0 + seed, 3.0 + seed, mmd=0.2))
        make_run("half", seed, likelihood(WIDE if seed else 1.7, 1.6, 1.8 + seed, mmd=0.1))
        folder = make_run("exact", seed, {"nll": 2.5 + seed / 10, "mmd": 0.4})
    return compared(folder, {label: [0, 1] for label in ("sure", "wide", "half", "exact")})


def test_an_interval_is_printed_with_its_reason_and_competes_for_nothing(mixed: ranking.Comparison) -> None:
    assert mixed.headline == "nll"
    assert [row.label for row in mixed.rows] == ["sure", "exact", "half", "wide"], "intervals follow numbers, by their worse end"
    assert [row.label for row in mixed.rows if row.cells["nll"].best] == ["sure"]
    text = tables.markdown([mixed])
    assert cells(text, "wide")[2] == "1.5 – 3.5<sup>a</sup>" or cells(text, "wide")[2] == "1.5 – 3.5<sup>b</sup>"
    assert cells(text, "half")[2].startswith("1.60 – 2.30<sup>") and cells(text, "sure")[2].startswith("**2.0")
    assert "the bracket of log Z is wider than 0.2 nats" in text and "interval: " not in text
    assert "n/a" not in text and tables.BRACKETED in tables.rule([mixed])
    assert "$1.5$ -- $3.5$" in tables.latex([mixed]) and "1.5 – 3.5<sup>" in tables.html_tables([mixed])


def test_ends_of_brackets_are_in_the_csv_and_in_no_printed_table(mixed: ranking.Comparison) -> None:
    text = tables.markdown([mixed])
    assert "nll\\_lower" not in text and "nll_upper" not in text and "ends of brackets" in text
    frame = tables.summary_frame([mixed]).set_index("method")
    assert pd.isna(frame.loc["wide", "nll"]) and frame.loc["wide", ["nll_lower", "nll_upper"]].tolist() == [1.5, 3.5]
    assert mixed.rows[0].cells["nll"].bracket == (pytest.approx(1.9), pytest.approx(2.2)) and mixed.rows[1].cells["nll"].bracket is None


def test_one_uncertain_seed_makes_the_cell_an_interval_over_all_seeds(mixed: ranking.Comparison) -> None:
    (cell,) = [row.cells["nll"] for row in mixed.rows if row.label == "half"]
    assert cell.mean is None and cell.interval == (pytest.approx(1.6), pytest.approx(2.3)) and cell.n == 2


def test_intervals_head_the_table_only_where_nothing_else_can(make_run: Callable[..., Path]) -> None:
    for seed in (0, 1):
        make_run("b", seed, likelihood(WIDE, 1.0, 3.0, mmd=0.2))
        folder = make_run("a", seed, likelihood(WIDE, 1.5, 2.5, mmd=0.3))
    assert compared(folder, {"a": [0, 1], "b": [0, 1]}).headline == "mmd"
    for seed in (2, 3):
        make_run("b", seed, likelihood(WIDE, 1.0, 3.0))
        folder = make_run("a", seed, likelihood(WIDE, 1.5, 2.5))
    found = compared(folder, {"b": [2, 3], "a": [2, 3]})
    assert found.headline == "nll" and [row.label for row in found.rows] == ["a", "b"] and not found.best


def test_an_interval_without_ends_is_a_reason(make_run: Callable[..., Path]) -> None:
    folder = make_run("a", 0, {"nll": WIDE, "mmd": 0.1})
    make_run("b", 0, {"nll": 2.0, "mmd": 0.1})
    found = compared(folder, {"a": [0], "b": [0]})
    assert "n/a<sup>" in cells(tables.markdown([found]), "a")[2] and WIDE in tables.markdown([found])


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(2.3141, 2.4519, "2.31 – 2.45"), (-1234.6, -1203.1, "−1235 – −1203"), (-0.001, 0.02, "−0.001 – 0.020"), (1.5, 1.5, "1.50 – 1.50")],
)
def test_an_interval_keeps_two_digits_of_its_width(low: float, high: float, text: str) -> None:
    assert interval(low, high).plain() == text


def test_no_interval_is_none() -> None:
    for ends in ((1.0, 0.5), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="no interval"):
            interval(*ends)
