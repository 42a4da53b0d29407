"""Likelihood while training: the table against numbers by hand, the figure against the histories that it draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from ebmpipe import registry
from ebmpipe.cli import app
from ebmpipe.collecting import collect_trajectories
from ebmpipe.files import read_signed, write_signed
from ebmpipe.report import base, style
from ebmpipe.report.curves import averaged, curves_of
from ebmpipe.report.differences import paired
from ebmpipe.report.reading import runs_of
from ebmpipe.report.trajectories import COLUMNS, Level, Watched, common_end, frame, level, markdown, rows, watched


def history(values: Any, cost: int = 10, seconds: float = 0.5) -> pd.DataFrame:
    """One row per update, each at the same cost and in the same time."""
    steps = np.arange(1, len(values) + 1)
    clocks = {"step": steps, "gradient_evaluations": cost * steps, "wall_s": seconds * steps}
    return pd.DataFrame({**clocks, "log_likelihood": np.asarray(values, dtype=float)})


def test_a_level_is_of_the_last_tenth_of_the_rows_counted_up() -> None:
    found = history(np.arange(20))
    assert level(found, "step", 20) == Level(18.5, pytest.approx(np.sqrt(0.5)))
    # Of fifteen rows the last two, of ten the last one; an end between two rows is the row before.
    assert level(found, "gradient_evaluations", 159) == Level(13.5, pytest.approx(np.sqrt(0.5)))
    assert level(found, "wall_s", 5.0) == Level(9.0, None)
    assert level(history(np.arange(21)), "step", 21) == Level(19.0, pytest.approx(1.0))


def test_a_level_leaves_out_what_is_missing() -> None:
    found = history([*range(28), np.nan, 30.0])
    assert level(found, "step", 30) == Level(28.5, pytest.approx(np.sqrt(4.5)))
    assert level(found, "step", 29) == Level(26.5, pytest.approx(np.sqrt(0.5)))
    assert level(history([1.0, np.nan]), "step", 2) is None
    assert level(found, "step", 0.5) is None, "no update was made yet"


def test_the_common_end_is_what_every_run_reached() -> None:
    histories = [history(np.zeros(20), cost=10), history(np.zeros(30), cost=5), history(np.zeros(10), cost=100)]
    assert common_end(histories, "gradient_evaluations") == 150
    assert common_end(histories, "wall_s") == 5
    assert common_end([], "wall_s") is None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_is_students(n: int) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.normal(size=(2, n))
    found = paired(dict(enumerate(one)), dict(enumerate(other)) | {99: 5.0})
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert found is not None and found.pairs == n and found.mean == pytest.approx(np.mean(one - other))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_pair_has_no_interval_and_none_no_difference() -> None:
    found = paired({0: 2.0, 1: 7.0}, {0: 1.5})
    assert found is not None and (found.mean, found.low, found.high, found.pairs) == (0.5, None, None, 1)
    assert paired({0: 2.0}, {1: 1.5}) is None


#: Two labels on two seeds: pcd rises by 1 at each update, and by 2 on its second seed; nce costs half as much, and takes twice the time.
LABELS = {
    "pcd": Watched(2, {0: history(np.arange(20.0)), 1: history(2 * np.arange(20.0))}),
    "nce": Watched(3, {0: history(np.arange(20.0) + 3, 5, 1.0), 1: history(np.arange(20.0) + 7, 5, 1.0)}),
}


def test_labels_are_compared_after_all_updates_at_equal_cost_and_in_equal_time() -> None:
    found = {(row["method"], row["at"]): row for row in rows(LABELS)}
    assert list(found) == [(label, at) for label in LABELS for at in ("updates", "gradient_evaluations", "seconds")]
    assert [found["pcd", at]["end"] for at in ("updates", "gradient_evaluations", "seconds")] == [20, 100, 10]
    # All updates: rows 19 and 20. At 100 gradient evaluations pcd is at row 10; after 10 seconds pcd at row 20 and nce at row 10.
    expected = {
        ("pcd", "updates"): (18.5, 37.0), ("nce", "updates"): (21.5, 25.5),
        ("pcd", "gradient_evaluations"): (9.0, 18.0), ("nce", "gradient_evaluations"): (21.5, 25.5),
        ("pcd", "seconds"): (18.5, 37.0), ("nce", "seconds"): (12.0, 16.0),
    }  # fmt: skip
    for key, values in expected.items():
        assert found[key]["log_likelihood"] == pytest.approx(np.mean(values))
        assert found[key]["log_likelihood_sd"] == pytest.approx(abs(values[1] - values[0]) / np.sqrt(2))
        assert found[key]["reference"] == "pcd"
    assert found["nce", "updates"]["within_run_sd"] == pytest.approx(np.sqrt(0.5))
    assert found["pcd", "updates"]["within_run_sd"] == pytest.approx((np.sqrt(0.5) + np.sqrt(2)) / 2)
    assert found["pcd", "gradient_evaluations"]["within_run_sd"] is None
    assert (found["nce", "updates"]["seeds"], found["nce", "updates"]["total"]) == (2, 3)


def test_differences_are_of_equal_seeds() -> None:
    found = {(row["method"], row["at"]): row for row in rows(LABELS)}
    # With one degree of freedom the quantile of t is tan(0.475 π) = 12.706.
    for at, (one, other) in {"updates": (3.0, -11.5), "gradient_evaluations": (12.5, 7.5), "seconds": (-6.5, -21.0)}.items():
        row, half = found["nce", at], np.tan(0.475 * np.pi) * abs(one - other) / 2
        assert row["difference"] == pytest.approx((one + other) / 2) and row["pairs"] == 2
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((row["difference"] - half, row["difference"] + half))
        assert "difference" not in found["pcd", at]


def test_a_label_without_a_value_keeps_its_rows() -> None:
    found = frame({"plane": LABELS | {"pcd": Watched(2), "dsm": Watched(1)}, "moons": LABELS})
    assert list(found) == COLUMNS
    lost = found[(found["dataset"] == "plane") & found["method"].isin(["pcd", "dsm"])]
    assert (lost["seeds"] == 0).all() and lost[["log_likelihood", "difference", "within_run_sd"]].isna().all(axis=None)
    nce = found[(found["dataset"] == "plane") & (found["method"] == "nce")]
    assert nce["difference"].isna().all() and nce["log_likelihood"].notna().all(), "the reference has none to differ from"
    assert (found.loc[found["dataset"] == "moons", "end"] == [20, 100, 10] * 2).all()
    assert "| `pcd` | 0/2 | n/a | n/a | – |" in markdown(found)


Runs = dict[str, dict[str, list[int]]]
SHOWN: Runs = {"eight_gaussians": {"data": [0, 1], "pcd": [0, 1], "nce": [0, 1], "dsm": [0, 1], "cd": [0]}}


def curve(seed: int, height: float, length: int = 60) -> dict[str, np.ndarray]:
    """A history of a run that was watched."""
    t = np.linspace(0, 1, length)
    noise = np.random.default_rng(seed).normal(size=(2, length)) * 0.02
    return {"loss": np.exp(-t), "log_likelihood": height - 2 * np.exp(-6 * t) + noise[0], "mmd": 0.05 * np.exp(-5 * t) + noise[1] * 0.01}


@pytest.fixture
def results(tmp_path: Path, make_plane: Callable[..., None]) -> Path:
    """Watched runs on a density of known entropy: nce has no chains, one seed of dsm diverged, cd was not watched."""
    for seed in (0, 1):
        make_plane("data", seed, 0.01, method="data")
        make_plane("pcd", seed, 0.1, history=curve(seed, -2.9))
        make_plane("nce", seed, 0.1, history={key: value for key, value in curve(seed, -2.85).items() if key != "mmd"}, budget=1_000_000)
        make_plane("dsm", seed, 0.1, history=curve(seed, -3.2, 20 if seed else 60), diverged=seed == 1)
    make_plane("cd", 0, 0.1)
    path = tmp_path / "data/eight_gaussians/card.json"
    card = {key: value for key, value in read_signed(path).items() if key != "sha256"}
    write_signed(path, card | {"entropy": 2.83})
    return tmp_path


def test_watched_histories_are_those_of_training_to_its_end(results: Path) -> None:
    found = watched(runs_of(results, "eight_gaussians", SHOWN["eight_gaussians"]))
    assert {label: (of_label.total, list(of_label.histories)) for label, of_label in found.items()} == {
        "pcd": (2, [0, 1]), "nce": (2, [0, 1]), "dsm": (2, [0]), "cd": (1, []),
    }  # fmt: skip


def test_the_table_is_written_as_csv_and_markdown(results: Path) -> None:
    collect_trajectories(results, SHOWN)
    found = pd.read_csv(results / "tables/trajectories.csv")
    assert list(found) == COLUMNS and set(found["method"]) == {"pcd", "nce", "dsm", "cd"} and set(found["reference"]) == {"pcd"}
    histories = [run.history for run in runs_of(results, "eight_gaussians", {"pcd": [0, 1]})["pcd"]]
    (row,) = found[(found["method"] == "pcd") & (found["at"] == "updates")].itertuples()
    assert row.log_likelihood == pytest.approx(np.mean([each["log_likelihood"].iloc[-6:].mean() for each in histories]))
    assert (found.loc[found["at"] == "gradient_evaluations", "end"] == 1_000_000).all()
    text = (results / "tables/trajectories.md").read_text()
    assert "## `eight_gaussians`" in text and "less pcd" in text and "1.00×10⁶ gradient evaluations ↑" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) == 2 + 4
    done = CliRunner().invoke(app, ["collect-trajectories", "--runs", json.dumps(SHOWN), "--results", str(results)])
    assert done.exit_code == 0 and done.output.strip().endswith("trajectories.csv")
    with pytest.raises(ValueError, match="runs"):
        collect_trajectories(results, {"eight_gaussians": {"pcd": 3}})  # type: ignore[dict-item]


def drawn(results: Path) -> Any:
    context = base.Context(results, "eight_gaussians", SHOWN)
    with style.applied():
        return registry.load(base.FIGURES, "likelihood_curves")().draw(context), context


def test_lines_are_means_over_seeds_against_each_clock(results: Path) -> None:
    figure, context = drawn(results)
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 3 + ["updates", "gradient evaluations", "seconds of training"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["log-likelihood (nats per example)", "", "", "MMD² of the chains", "", ""]
    histories = [run.history for run in runs_of(results, "eight_gaussians", {"pcd": [0, 1]})["pcd"]]
    for row, name in enumerate(("log_likelihood", "mmd")):
        for axes, clock in zip(figure.axes[3 * row : 3 * row + 3], ("step", "gradient_evaluations", "wall_s"), strict=True):
            (line,) = [line for line in axes.lines if line.get_color() == context.looks["pcd"].colour]
            assert line.get_ydata() == pytest.approx(np.mean([each[name] for each in histories], axis=0))
            assert line.get_xdata() == pytest.approx(histories[0][clock])
            assert axes.get_xlim()[0] == 0
    of_nce = [any(line.get_color() == context.looks["nce"].colour for line in axes.lines) for axes in figure.axes]
    assert of_nce == [True] * 3 + [False] * 3, "it has no chains"
    assert not any(line.get_color() == context.looks["cd"].colour for axes in figure.axes for line in axes.lines), "it was not watched"


def test_the_entropy_is_dashed_and_a_diverged_seed_crossed(results: Path) -> None:
    figure, context = drawn(results)
    for axes in figure.axes[:3]:
        (dashed,) = [line for line in axes.lines if line.get_color() == style.INK]
        assert set(dashed.get_ydata()) == {-2.83}
        low, high = axes.get_ylim()
        assert low < -2.83 < high
    crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "X"]
    assert len(crosses) == 6 and {line.get_color() for line in crosses} == {context.looks["dsm"].colour}
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(said) == ["diverged", "dsm", "minus the entropy of the data", "nce", "pcd"]


@pytest.mark.filterwarnings("error")
def test_it_draws_the_same_bytes_twice(results: Path) -> None:
    written = []
    for place in ("one", "two"):
        base.draw("likelihood_curves", results, "eight_gaussians", SHOWN, results / place / "likelihood_curves")
        written.append([(results / place / f"likelihood_curves.{suffix}").read_bytes() for suffix in ("png", "pdf")])
    assert written[0] == written[1]


def test_without_watched_runs_it_says_what_is_missing(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    make_plane("pcd", 0, 0.1)
    context = base.Context(tmp_path, "eight_gaussians", {"eight_gaussians": {"pcd": [0]}})
    with style.applied():
        figure = registry.load(base.FIGURES, "likelihood_curves")().draw(context)
    assert ["watch: true" in text.get_text() for axes in figure.axes for text in axes.texts] == [True]


def test_the_figure_of_training_leaves_them_out(results: Path) -> None:
    (run,) = runs_of(results, "eight_gaussians", {"pcd": [0]})["pcd"]
    assert {"log_likelihood", "mmd"} <= set(run.history) and not {"log_likelihood", "mmd"} & set(curves_of(run))


def test_seeds_are_averaged_update_by_update_whenever_they_made_them() -> None:
    slow, fast = history([0.0, 1.0, 2.0, 3.0], seconds=3.0), history([4.0, 5.0, np.nan, 9.0, 10.0], seconds=1.0)
    found = averaged([slow, fast], "log_likelihood", "wall_s")
    assert found.index.tolist() == [1, 2, 3, 4]
    assert found["at"].tolist() == [2.0, 4.0, 6.0, 8.0]
    # The third of the second lies half-way between its neighbours.
    assert found["mean"].tolist() == [2.0, 3.0, 4.5, 6.0]
    assert found["sd"].tolist() == pytest.approx(np.array([4, 4, 5, 6]) / np.sqrt(2))
    assert averaged([slow], "log_likelihood", "step")["sd"].isna().all()
