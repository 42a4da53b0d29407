"""Collecting: every run's numbers in tables, and whether the controls came out where they must."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ebmpipe.files import atomic, write_text
from ebmpipe.report import controls, paired, published, ranking, tables, trajectories
from ebmpipe.report.frames import all_runs, compute_frame, metrics_frame, protocols_frame
from ebmpipe.report.reading import Run, Runs, check_runs, runs_of


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write ``frame`` as CSV, atomically. What is missing is an empty field; numbers keep every digit."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def collect(results: Path, runs: Runs) -> None:
    """Write ``tables/{metrics,compute,summary,protocols,controls,paired}.csv``, ``summary.{md,tex}`` and ``paired.md`` from all runs.

    Args:
        results: folder of everything the workflow made.
        runs: {dataset: {label: [seeds]}}.

    Raises:
        MissingResult: if a run's folder or one of its files is not there.
        ValueError: if ``runs`` or a file is not what it should be, or a run reports a metric twice.
    """
    check_runs(runs)
    found = all_runs(results, runs)
    if not found:
        raise ValueError("there are no runs to collect")
    metrics, compute, protocols = metrics_frame(found), compute_frame(found), protocols_frame(found)
    comparisons = ranking.compare(metrics, compute, protocols)
    folder = results / "tables"
    write_table(folder / "metrics.csv", metrics)
    write_table(folder / "compute.csv", compute)
    write_table(folder / "protocols.csv", protocols)
    write_table(folder / "summary.csv", tables.summary_frame(comparisons))
    write_table(folder / "controls.csv", controls.controls_frame(comparisons))
    differences = paired.frame(metrics, requirements(found), controls_of(found), ranking.known_metrics())
    write_table(folder / "paired.csv", differences)
    write_text(folder / "paired.md", paired.markdown(differences, {one.dataset: one.headline for one in comparisons}))
    write_text(folder / "summary.md", tables.markdown(comparisons))
    write_text(folder / "summary.tex", tables.latex(comparisons))


def requirements(runs: list[Run]) -> dict[str, dict[str, dict[str, str]]]:
    """What runs build on: data set -> label -> role -> label."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for run in runs:
        found.setdefault(run.dataset, {})[run.label] = run.config.get("requires", {})
    return found


def controls_of(runs: list[Run]) -> dict[str, set[str]]:
    """The labels of each data set that train nothing."""
    found: dict[str, set[str]] = {}
    for run in runs:
        found.setdefault(run.dataset, set()).update({run.label} if run.control else set())
    return found


def collect_published(results: Path) -> None:
    """Write ``tables/published.{csv,md}``: what others have published beside the numbers of the tables ``metrics`` and ``trajectories``.

    Args:
        results: folder of everything the workflow made.

    Raises:
        FileNotFoundError: if there is no ``tables/metrics.csv``: `collect` comes first.
    """
    folder = results / "tables"
    watched = folder / "trajectories.csv"
    frame = published.frame(pd.read_csv(folder / "metrics.csv"), pd.read_csv(watched) if watched.is_file() else None)
    write_table(folder / "published.csv", frame)
    write_text(folder / "published.md", published.markdown(frame))


def collect_trajectories(results: Path, runs: Runs) -> None:
    """Write ``tables/trajectories.{csv,md}`` from the histories of watched runs.

    Args:
        results: folder of everything the workflow made.
        runs: {dataset: {label: [seeds]}}, of data sets that are watched.

    Raises:
        MissingResult: if a run's folder or one of its files is not there.
        ValueError: if ``runs`` is not what it should be.
    """
    check_runs(runs)
    frame = trajectories.frame({dataset: trajectories.watched(runs_of(results, dataset, labels)) for dataset, labels in runs.items()})
    write_table(results / "tables" / "trajectories.csv", frame)
    write_text(results / "tables" / "trajectories.md", trajectories.markdown(frame))
