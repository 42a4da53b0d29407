"""The tables: what is in them, what is bold, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ebmpipe import collecting
from ebmpipe.files import CorruptFile
from ebmpipe.report import ranking, tables
from ebmpipe.report.frames import KEY, DuplicateRows, all_runs, read_tables, with_required
from ebmpipe.report.reading import MissingResult

World = tuple[Path, dict[str, dict[str, list[int]]]]


@pytest.fixture(scope="module")
def collected(world: World) -> tuple[Path, dict[str, ranking.Comparison]]:
    results, runs = world
    with pytest.MonkeyPatch.context() as patch:
        from ebmpipe.metrics.base import MetricInfo

        info = {
            name: MetricInfo("", "lower", name) for name in ("nll_gap", "nll", "mmd", "sliced_wasserstein", "frechet_lenet", "kernel_lenet")
        }
        patch.setattr(ranking, "known_metrics", lambda: info | {"log_z": MetricInfo("nats", None, "log-partition")})
        collecting.collect(results, runs)
        return results / "tables", {each.dataset: each for each in ranking.compare(*read_tables(results))}


def comparison(folder: Path, labels: dict[str, list[int]]) -> ranking.Comparison:
    results = folder.parents[3]
    collecting.collect(results, {"plane": labels})
    return ranking.compare(*read_tables(results))[0]


def bold(found: ranking.Comparison, metric: str) -> list[str]:
    return [row.label for row in found.rows if row.cells[metric].best]


def test_metrics_are_tidy(collected: tuple[Path, Any], world: World) -> None:
    frame = pd.read_csv(collected[0] / "metrics.csv")
    assert list(frame) == ["dataset", "method", "seed", "metric", "value", "stderr", "n", "status", "unit"]
    assert not frame.duplicated(KEY).any()
    assert set(zip(frame["dataset"], frame["method"], frame["seed"], strict=True)) == {
        (run.dataset, run.label, run.seed) for run in all_runs(*world)
    }


def test_a_missing_value_always_says_why(collected: tuple[Path, Any]) -> None:
    frame = pd.read_csv(collected[0] / "metrics.csv")
    assert (frame["value"].isna() == (frame["status"] != "ok")).all()
    assert set(frame.loc[(frame["method"] == "cd") & (frame["dataset"] != "cloud"), "status"]) == {"diverged"}
    assert frame["status"].str.match(r"ok$|diverged$|not available: .").all()


def test_diverged_runs_have_every_row_that_others_have(make_run: Callable[..., Path]) -> None:
    make_run("pcd", 0, {"nll": 2.0, "mmd@persistent": 0.1})
    folder = make_run("cd", 0, {}, diverged=True)
    comparison(folder, {"pcd": [0], "cd": [0]})
    frame = pd.read_csv(folder.parents[3] / "tables" / "metrics.csv")
    lost = frame[frame["method"] == "cd"]
    assert set(lost["metric"]) == {"nll", "mmd@persistent"} and set(lost["status"]) == {"diverged"} and lost["value"].isna().all()


def test_compute_adds_up(collected: tuple[Path, Any]) -> None:
    frame = pd.read_csv(collected[0] / "compute.csv")
    parts = frame[["train_s", "sample_s", "evaluate_s", "startup_s"]].fillna(0).sum(axis=1)
    assert frame["wall_s"].to_numpy() == pytest.approx(parts.to_numpy())
    assert frame["device"].eq("cpu").all()
    assert not frame.duplicated(["dataset", "method", "seed"]).any()
    assert {"startup_s", "peak_memory_mb", "parameters", "training_flops", "gradient_evaluations", "sampler_steps", "temperature"} <= set(
        frame
    )


def test_seconds_have_the_clocks_digits(make_run: Callable[..., Path]) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0}, train_s=0.1 + 0.2)
    comparison(folder, {"pcd": [0]})
    frame = pd.read_csv(folder.parents[3] / "tables" / "compute.csv", dtype=str)
    assert frame.loc[0, ["wall_s", "train_s", "startup_s"]].tolist() == ["10.8", "0.3", "4.5"]


@pytest.mark.parametrize("runs", [[], {"a": 3}, {"a": ["pcd"]}, {"a": {"pcd": 0}}, {"a": {"pcd": "01"}}, {"a": {"pcd": [True]}}])
def test_malformed_runs_are_refused(tmp_path: Path, runs: Any) -> None:
    with pytest.raises(ValueError, match=r"runs.* must be .*, as in \{dataset: \{label: \[seeds\]\}\}, not"):
        collecting.collect(tmp_path, runs)


def test_rows_run_from_data_over_best_and_worst_to_noise(collected: tuple[Path, Any]) -> None:
    found = collected[1]["eight_gaussians"]
    assert found.headline == "nll_gap"
    order = [row.label for row in found.rows]
    assert order[0] == "data" and order[-1] == "noise"
    assert set(order[1:3]) == {"pcd", "pcd_twin"} and order[3:-1] == ["nce", "dsm", "cd"]


def test_what_competes_is_bold_and_nothing_else(collected: tuple[Path, Any]) -> None:
    for found in collected[1].values():
        for metric in found.shown:
            winners = set(bold(found, metric))
            assert not winners & {"data", "noise"}
            if found.dataset != "cloud":
                assert not winners & {"cd", "dsm"}


def test_welch_ties_end_at_the_first_that_is_told_apart(make_run: Callable[..., Path]) -> None:
    values = {"a": [1.0, 1.1, 0.9], "b": [1.05, 1.15, 0.95], "c": [1.8, 1.9, 2.0], "d": [1.0, 60.0, 3.0]}
    for label, of_label in values.items():
        for seed, value in enumerate(of_label):
            folder = make_run(label, seed, {"nll": value})
    assert bold(comparison(folder, {label: [0, 1, 2] for label in values}), "nll") == ["a", "b"]


def test_digits_end_where_the_standard_error_does(make_run: Callable[..., Path]) -> None:
    for seed, value in enumerate([0.0021803, 0.0021839]):
        folder = make_run("nce", seed, {"nll": value}, stderr=[0.0005589, 0.0005676][seed])
    make_run("data", 0, {"nll": 0.0034567})
    found = comparison(folder, {"nce": [0, 1], "data": [0]})
    cells = {row.label: row.cells["nll"] for row in found.rows}
    assert cells["nce"].stderr == pytest.approx(0.00056325) and cells["data"].stderr is None
    assert "| **0.0022 ± <0.0001** |" in tables.markdown([found]) and "| 0.00346 |" in tables.markdown([found])
    assert "<b>0.0022 ± &lt;0.0001</b>" in tables.html_tables([found])
    assert "standard error" in tables.RULE and "standard error" in tables.CAPTION


def test_welch_agrees_with_scipy() -> None:
    from scipy import stats

    a, b = [1.0, 1.2, 0.7, 1.1], [1.4, 1.6, 1.3]
    cells = [ranking.Cell(pd.Series(x).mean(), pd.Series(x).std(), len(x)) for x in (a, b)]
    assert ranking.welch(*cells) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_single_seeds_leave_only_the_best_bold(collected: tuple[Path, Any], make_run: Callable[..., Path]) -> None:
    assert len(bold(collected[1]["cloud"], "nll")) == 1
    make_run("a", 0, {"precision": 0.5})
    folder = make_run("b", 0, {"precision": 0.5001})
    assert bold(comparison(folder, {"a": [0], "b": [0]}), "precision") == ["b"]


def test_summary_counts_what_finished(collected: tuple[Path, Any]) -> None:
    frame = pd.read_csv(collected[0] / "summary.csv").set_index(["dataset", "method"])
    assert tuple(frame.loc[("blobs", "dsm"), ["finished", "total"]]) == (1, 2)
    assert tuple(frame.loc[("blobs", "cd"), ["finished", "total"]]) == (0, 2)
    assert frame.loc[("eight_gaussians", "pcd"), "nll_gap_seeds"] == 2
    assert pd.isna(frame.loc[("blobs", "cd"), "frechet_lenet"]) and not frame.loc[("blobs", "cd"), "frechet_lenet_best"]


def test_markdown_says_what_is_missing(collected: tuple[Path, Any]) -> None:
    text = (collected[0] / "summary.md").read_text()
    section = text[text.index("## `eight_gaussians`") : text.index("## `blobs`")]
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| `")}
    assert "diverged" in rows["`cd`"] and "0/2" in rows["`cd`"] and "1/2" in rows["`dsm`"]
    assert "n/a<sup>" in rows["`data`"] and "not available: the method has no energy" in section
    assert "seeds 0, 1 diverged at step 1,234 (loss is not finite)" in section
    assert "**" in rows["`pcd`"] and "**" not in rows["`dsm`"] and "persistent" not in section
    assert len({line.count("|") for line in section.splitlines() if line.startswith("|")}) == 1


MADE = {"fresh": "long chains, 500 steps of mala each", "own": "short run, 60 steps of ula each"}


def test_own_samples_stand_below_a_label_that_has_some(make_run: Callable[..., Path]) -> None:
    for seed, (own, long) in enumerate([(0.10, 0.9), (0.12, 1.1)]):
        make_run("short_run", seed, {"nll": 2.5, "mmd": long, "mmd@own": own, "mmd@noisy": 7.0}, made=MADE)
        folder = make_run("pcd", seed, {"nll": 2.0, "mmd": 0.2, "mmd@persistent": 0.3}, diverged=seed == 1, made={"fresh": MADE["fresh"]})
    found = comparison(folder, {"pcd": [0, 1], "short_run": [0, 1]})
    rows = {row.label: row for row in found.rows}
    assert rows["short_run"].cells["mmd"].mean == pytest.approx(1.0) and rows["short_run"].cells["mmd"].best
    assert set(rows["short_run"].beside) == {"mmd"} and rows["short_run"].beside["mmd"].mean == pytest.approx(0.11)
    assert not rows["short_run"].beside["mmd"].best
    assert rows["pcd"].beside == {}, "a seed that diverged has measured nothing that the label never had"
    lines = [line for line in tables.markdown([found]).splitlines() if line.startswith("| `")]
    heads = tables.markdown([found]).splitlines()[6].split("|")
    (place,) = [index for index, line in enumerate(lines) if line.startswith("| `short_run@own`")]
    assert lines[place - 1].startswith("| `short_run` |")
    cells = dict(zip([head.strip().split(" ")[0] for head in heads], [cell.strip() for cell in lines[place].split("|")], strict=True))
    assert cells["mmd"] == "0.110 ± 0.014" and cells["nll"] == "–" and cells["finished"] == cells["training"] == ""
    assert len({line.count("|") for line in lines}) == 1
    text = tables.markdown([found])
    assert f"- Samples are of the source fresh, the same for every method: {MADE['fresh']}." in text
    assert f"- short\\_run@own: {MADE['own']}." in text
    assert "label@own" in tables.rule([found]) and "short\\_run@own" in tables.latex([found])
    frame = tables.summary_frame([found]).set_index("method")
    assert frame.loc["short_run", ["mmd@own", "mmd@own_seeds"]].tolist() == [pytest.approx(0.11), 2]
    assert pd.isna(frame.loc["pcd", "mmd@own"]) and "mmd@persistent" not in frame
    assert "label@" not in tables.rule([comparison(folder, {"pcd": [0, 1]})])


def test_another_declared_source_is_said_and_long_chains_stand_beside_it(make_run: Callable[..., Path]) -> None:
    lacking = "not available: the run has no samples of the source own"
    make_run("pcd", 0, {"nll": 2.0, "mmd": lacking, "mmd@fresh": 0.2}, source="own", made={"fresh": MADE["fresh"]})
    folder = make_run("short_run", 0, {"nll": 2.5, "mmd": 0.1, "mmd@fresh": 0.9}, source="own", made=MADE)
    found = comparison(folder, {"pcd": [0], "short_run": [0]})
    assert found.source == "own" and found.made == MADE["own"]
    text = tables.markdown([found])
    assert "| `short_run@fresh` |" in text and "| `pcd@fresh` |" in text and lacking in text and "label@fresh" in text
    assert bold(found, "mmd") == ["short_run"]


def test_temperatures_are_told_where_one_is_not_1_and_are_no_facts_where_gradients_were_clipped(make_run: Callable[..., Path]) -> None:
    for seed, clipped in enumerate((0.10, 0.14)):
        make_run("igebm", seed, {"nll": 3.0, "mmd": 0.1, "mmd@own": 0.2}, temperature=0.016, clipped=clipped)
        make_run("cold", seed, {"nll": 2.5}, temperature=1.2e-6)
        make_run("hardly", seed, {"nll": 2.4}, temperature=0.5, clipped=0.001)
        make_run("data", seed, {"nll": 2.0})
        folder = make_run("pcd", seed, {"nll": 2.1})
    comparison(folder, {label: [0, 1] for label in ("igebm", "cold", "hardly", "data", "pcd")})
    tables_folder = folder.parents[3] / "tables"
    lines = (tables_folder / "summary.md").read_text().splitlines()
    column = [cell.strip() for cell in next(line for line in lines if line.startswith("| method")).split("|")].index("temperature")
    cells = {line.split("`")[1]: line.split("|")[column].strip() for line in lines if line.startswith("| `")}
    marks = {name: cell.partition("<sup>") for name, cell in cells.items()}
    assert {name: cell for name, (cell, _, _) in marks.items()} == {
        "igebm": "0.016 (clipped 12 %)", "igebm@own": "", "cold": "1.2×10⁻⁶", "hardly": r"0.50 (clipped \<1 %)",
        "data": "–", "pcd": "1.0",
    }  # fmt: skip
    assert {name for name, (_, mark, _) in marks.items() if mark} == {"igebm", "hardly"}
    assert any("is nominal" in line for line in lines)
    assert len({line.count("|") - line.count(r"\|") for line in lines if line.startswith("|")}) == 1
    latex = (tables_folder / "summary.tex").read_text()
    assert r"$0.016$ (clipped 12 \%)" in latex
    compute = pd.read_csv(tables_folder / "compute.csv")
    assert list(compute.loc[compute["method"] == "igebm", "clipped"]) == [0.10, 0.14]


def test_temperatures_that_are_all_1_take_no_room(make_run: Callable[..., Path]) -> None:
    folder = make_run("pcd", 0, {"nll": 2.1})
    assert not comparison(folder, {"pcd": [0]}).heated
    assert "temperature" not in (folder.parents[3] / "tables" / "summary.md").read_text()
    make_run("clipped", 0, {"nll": 2.1}, clipped=0.3)
    assert comparison(folder, {"pcd": [0], "clipped": [0]}).heated


def test_latex_is_balanced_and_escaped(collected: tuple[Path, Any]) -> None:
    text = (collected[0] / "summary.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 3
    assert text.isascii() and r"eight\_gaussians" in text and r"\toprule" in text
    bodies = [line for line in text.splitlines() if line.endswith(r" \\") and "&" in line]
    assert bodies and "_" not in "".join(bodies).replace(r"\_", "")


def test_a_metric_that_nobody_has_is_a_note(collected: tuple[Path, Any]) -> None:
    found = collected[1]["blobs"]
    assert found.absent["bits_per_dim"] == "not available: improper" and "bits_per_dim" not in found.shown
    assert "bits\\_per\\_dim is not available: improper" in tables.markdown([found])


@pytest.mark.parametrize("name", ["config.json", "run.json", "metrics.json"])
def test_missing_and_broken_files_are_named(make_run: Callable[..., Path], name: str) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0})
    (folder / name).write_text('{"status": ')
    with pytest.raises(CorruptFile, match=f"{name} (was altered|is damaged)"):
        comparison(folder, {"pcd": [0]})
    (folder / name).unlink()
    with pytest.raises(MissingResult, match=name):
        comparison(folder, {"pcd": [0]})


def test_a_run_that_is_not_there_is_named(make_run: Callable[..., Path]) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0})
    with pytest.raises(MissingResult, match="seed7"):
        comparison(folder, {"pcd": [0, 7]})


def test_another_runs_folder_is_refused(make_run: Callable[..., Path]) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0})
    folder.rename(folder.with_name("seed1"))
    with pytest.raises(ValueError, match="mixed up"):
        comparison(folder, {"pcd": [1]})


def test_a_metric_reported_twice_is_refused(make_run: Callable[..., Path], vouch: Callable[[Path], None]) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0})
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(content | {"rows": content["rows"] * 2}))
    vouch(folder)
    with pytest.raises(DuplicateRows, match="plane/pcd/0/nll"):
        comparison(folder, {"pcd": [0]})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null"])
def test_a_value_that_is_none_is_refused(make_run: Callable[..., Path], vouch: Callable[[Path], None], value: str) -> None:
    folder = make_run("pcd", 0, {"nll": 2.0})
    path = folder / "metrics.json"
    path.write_text(path.read_text().replace("2.0", value))
    vouch(folder)
    with pytest.raises(ValueError, match="nll has value"):
        comparison(folder, {"pcd": [0]})


def test_what_a_run_builds_on_is_part_of_its_price() -> None:
    flow = {"training_flops": 5, "required": {}}
    tilt = {"training_flops": 3, "required": {"backbone": flow}}
    assert with_required({"training_flops": 2, "required": {"base": tilt, "features": flow}}, "training_flops") == 15
    assert with_required({"training_flops": None, "required": {"base": tilt}}, "training_flops") is None
