"""Who did best: means over seeds, the order of the rows, and which results tie.

The rule of the bold print. A label competes in a metric if it is no control, none of its seeds diverged, and it has a value; an interval in
place of one competes for nothing. The best is the one with the best mean. Going down the ranking, a label is as good if Welch's t-test
between its seeds and the best one's does not tell them apart at the 5 % level (two-sided, no correction for multiple comparisons); the
first that is told apart ends the list, so that a label cannot tie by being erratic. The test needs two seeds of each: without them only the
best is bold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import isclose
from typing import Any

import numpy as np
import pandas as pd

from ebmpipe import registry
from ebmpipe.metrics.base import MetricInfo
from ebmpipe.report.cells import Cell, cell_of, ends_in, ends_of
from ebmpipe.report.protocols import of_metrics
from ebmpipe.report.reading import source_beside

#: What decides the order of the rows: the first of these that at least half of the competing labels have. ``*`` is any ending.
HEADLINES = (
    *("nll_gap", "fid", "frechet_lenet", "frechet_*", "nll", "bits_per_dim"),
    *("mmd", "sliced_wasserstein", "energy_distance", "kid", "kernel_*"),
)
#: Columns that follow the headline, in this order; the others follow by name.
ORDER = (
    *HEADLINES,
    "nll_best_temperature",
    "nn_distance_ratio",
    "inception_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "mode_weight_error",
    "accuracy",
    "calibration_error",
    "classification_nll",
)
#: Metrics that printed tables leave to ``summary.csv``: they say again what a column beside them says.
ASIDE = ("ood_auprc_*", "denoising_mse", "denoising_ssim", "inpainting_mse", "inpainting_ssim")
COSTS = ("gradient_evaluations", "train_s", "training_flops")
LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """One label of one data set.

    Attributes:
        label: the label.
        control: ``data`` or ``noise`` for a control, None for what competes.
        finished: seeds that finished.
        total: all seeds.
        cells: results by metric.
        costs: costs by name.
        reasons: why seeds were lost.
        beside: results by metric of the same models by the samples that stand beside the declared ones, ``metric@own`` as a rule; empty
            if there are none.
        made_beside: how those came about, in words.
        temperature: mean temperature of the law that the row's energy is of; None if unknown.
        clipped: mean fraction of the coordinates of ∇E that training clipped. Where it is not 0, the temperature is nominal.
    """

    label: str
    control: str | None
    finished: int
    total: int
    cells: dict[str, Cell]
    costs: dict[str, float | None]
    reasons: tuple[str, ...]
    beside: dict[str, Cell] = field(default_factory=dict)
    made_beside: str | None = None
    temperature: float | None = None
    clipped: float | None = None

    @property
    def competes(self) -> bool:
        """Whether it may be the best of anything."""
        return not self.control and self.finished == self.total


@dataclass(frozen=True)
class Comparison:
    """One data set: its metrics in the order of their columns, and its rows from best to worst between the controls.

    Attributes:
        dataset: id of the data set.
        metrics: what each column is.
        headline: the metric that orders the rows.
        rows: the labels.
        source: the samples that all of this is about, the same for every label.
        made: how those of the methods came about, in words; None if that was not recorded.
        protocols: what the numbers of a metric may be compared under, of those that say so.
    """

    dataset: str
    metrics: dict[str, MetricInfo]
    headline: str | None
    rows: tuple[Row, ...]
    source: str = "fresh"
    made: str | None = None
    protocols: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> list[str]:
        """Metrics that a printed table shows: what some row has and is better or worse, what `ORDER` names, and the user's own.

        Those of `ASIDE` are not among them.
        """
        known = [metric for metric, info in self.metrics.items() if info.better or not info.description or metric in ORDER]
        return [metric for metric in known if not {metric} & (self.absent.keys() | self.ends | self.aside)]

    @property
    def aside(self) -> set[str]:
        """Metrics that stand in ``summary.csv`` alone, because a column says the same."""
        return {metric for metric in self.metrics if place(metric, ASIDE)[0] < len(ASIDE)}

    @property
    def ends(self) -> set[str]:
        """Metrics that are ends of another one's bracket."""
        return ends_in(self.metrics)

    @property
    def absent(self) -> dict[str, str]:
        """Metrics that no row has, and why."""
        cells = {metric: [row.cells[metric] for row in self.rows] for metric in self.metrics if metric not in self.ends}
        reasons = {metric: [cell.status for cell in column if cell.status not in ("ok", "diverged")] for metric, column in cells.items()}
        empty = [metric for metric, column in cells.items() if all(cell.quantity is None for cell in column)]
        return {metric: Counter(reasons[metric]).most_common(1)[0][0] for metric in empty if reasons[metric]}

    @property
    def heated(self) -> bool:
        """Whether some row's energy is of a law at a temperature other than 1, or its chains were clipped."""
        return any(not row.control and (row.temperature not in (None, 1.0) or row.clipped) for row in self.rows)

    @property
    def best(self) -> list[Row]:
        """The best row by the headline metric and those that tie with it, best first."""
        return [row for row in self.rows if self.headline and row.cells[self.headline].best]


def known_metrics() -> dict[str, MetricInfo]:
    """Every metric that the package can compute."""
    return {name: info for family in registry.load_all("metrics").values() for name, info in family.ids.items()}


def place(metric: str, order: tuple[str, ...]) -> tuple[int, str]:
    """Sort key of a metric in ``order``."""
    for index, pattern in enumerate(order):
        if metric == pattern or (pattern.endswith("*") and metric.startswith(pattern[:-1])):
            return index, metric
    return len(order), metric


def welch(a: Cell, b: Cell) -> float:
    """Two-sided p-value of Welch's t-test; 1 for equal and 0 for different means without any spread."""
    from scipy.special import stdtr

    assert a.mean is not None and b.mean is not None and a.sd is not None and b.sd is not None
    u, v = a.sd**2 / a.n, b.sd**2 / b.n
    if u + v == 0:
        return float(isclose(a.mean, b.mean, rel_tol=1e-9))
    freedom = (u + v) ** 2 / (u**2 / (a.n - 1) + v**2 / (b.n - 1))
    return float(2 * stdtr(freedom, -abs(a.mean - b.mean) / np.sqrt(u + v)))


def marked(rows: list[Row], metric: str, info: MetricInfo) -> list[Row]:
    """``rows`` with the best cells of ``metric`` marked, by the rule of the bold print."""
    competing = {row.label: row.cells[metric] for row in rows if row.competes and row.cells[metric].mean is not None}
    if not info.better or not competing:
        return rows
    sign = 1 if info.better == "lower" else -1
    ranked = sorted(competing, key=lambda label: sign * (competing[label].mean or 0.0))
    best, ties = competing[ranked[0]], {ranked[0]}
    for label in ranked[1:]:
        if min(best.n, competing[label].n) < 2:
            continue
        if welch(competing[label], best) < LEVEL:
            break
        ties.add(label)
    return [
        replace(row, cells=row.cells | {metric: replace(row.cells[metric], best=True)}) if row.label in ties else row for row in rows
    ]  # fmt: skip


def row_of(label: str, metrics: pd.DataFrame, compute: pd.DataFrame, names: list[str], beside: str) -> Row:
    """One label's row; costs are means over the finished seeds, or over all if none finished.

    Args:
        label: the label.
        metrics: its rows of ``metrics.csv``.
        compute: its rows of ``compute.csv``.
        names: the metrics of its data set.
        beside: the source that stands beside the declared one.
    """
    done = compute[compute["status"] == "finished"]
    means: dict[str, float | None] = {}
    for key in (*COSTS, "temperature", "clipped"):
        values = (done if len(done) else compute)[key].dropna().to_numpy(dtype=float)
        means[key] = float(values.mean()) if len(values) else None
    costs = {key: means[key] for key in COSTS}
    lost: dict[str, list[str]] = {}
    for run in compute[compute["status"] != "finished"].itertuples():
        lost.setdefault(run.reason if isinstance(run.reason, str) else "", []).append(str(run.seed))
    reasons = tuple(f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} diverged {reason}".rstrip() for reason, seeds in lost.items())
    control = next((str(name) for name in compute["control"].dropna()), None)
    by_metric: dict[Any, pd.DataFrame] = dict(iter(metrics.groupby("metric", sort=False)))
    cells = {name: cell_of(by_metric.get(name, metrics.iloc[:0]), *map(by_metric.get, ends_of(name))) for name in names}
    others = {name: cell_of(by_metric[f"{name}@{beside}"]) for name in names if f"{name}@{beside}" in by_metric}
    if all(cell.status == "diverged" for cell in others.values()):
        others = {}  # a diverged run has every metric of its data set, also those that it would not have measured
    made = next(iter(compute["made_beside"].dropna()), None) if others else None
    return Row(label, control, len(done), len(compute), cells, costs, reasons, others, made, means["temperature"], means["clipped"])


def headline_of(rows: list[Row], infos: dict[str, MetricInfo]) -> str | None:
    """The metric that orders the rows; one that has intervals only, or is the end of one, if there is no other."""
    competing = [row for row in rows if not row.control and row.finished]
    able = [name for name, info in infos.items() if info.better and name not in ends_in(infos)]
    held = {name: sum(row.cells[name].mean is not None for row in competing) for name in able}
    if not any(held.values()):
        held = {name: sum(row.cells[name].quantity is not None for row in competing) for name in able}
    candidates = sorted((name for name, count in held.items() if count), key=lambda name: place(name, HEADLINES))
    return next((name for name in candidates if 2 * held[name] >= len(competing)), candidates[0] if candidates else None)


def compare_one(
    dataset: str, metrics: pd.DataFrame, compute: pd.DataFrame, stated: dict[str, str], known: dict[str, MetricInfo]
) -> Comparison:
    """Compare the labels of one data set. Of other sample sources (``metric@source``) one is kept, `source_beside`; none competes."""
    source = next(iter(compute["source"].dropna().mode()), "fresh")
    made = next(iter(compute.loc[compute["control"].isna(), "made"].dropna().mode()), None)
    primary = metrics[~metrics["metric"].str.contains("@")]
    measured = primary[primary["status"] != "diverged"] if (primary["status"] != "diverged").any() else primary
    units = dict(zip(measured["metric"], measured["unit"], strict=True))
    infos = {name: known.get(name, MetricInfo(unit, None, "")) for name, unit in units.items()}
    labels = list(dict.fromkeys(compute["method"]))
    rows = [
        row_of(label, metrics[metrics["method"] == label], compute[compute["method"] == label], list(infos), source_beside(source))
        for label in labels
    ]
    headline = headline_of(rows, infos)
    names = sorted(infos, key=lambda name: (name != headline, *place(name, ORDER)))
    for name in names:
        rows = marked(rows, name, infos[name])

    def order(row: Row) -> tuple[Any, ...]:
        cell, better = (row.cells[headline], infos[headline].better) if headline else (Cell(), None)
        value = cell.at_worst(better)
        first = {"data": 0, None: 1 if row.competes else 2, "noise": 3}[row.control]
        return first, value is None, cell.mean is None, (-1 if better == "higher" else 1) * (value or 0.0)

    protocols = {name: stated[name] for name in names if name in stated}
    ordered = tuple(sorted(rows, key=order))
    return Comparison(dataset, {name: infos[name] for name in names}, headline, ordered, source, made, protocols)


def compare(metrics: pd.DataFrame, compute: pd.DataFrame, protocols: pd.DataFrame | None = None) -> list[Comparison]:
    """Compare the labels of every data set, from the tables ``metrics.csv``, ``compute.csv`` and ``protocols.csv``."""
    known = known_metrics()
    return [
        compare_one(
            dataset,
            metrics[metrics["dataset"] == dataset],
            compute[compute["dataset"] == dataset],
            {} if protocols is None else of_metrics(protocols[protocols["dataset"] == dataset]),
            known,
        )
        for dataset in dict.fromkeys(compute["dataset"])
    ]
