"""Whether the controls come out first and last: held-out data before every method, noise behind, in every metric that judges models.

A metric in which they do not is not trusted blindly: it is named, with the labels that are before the data or behind the noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot, sqrt

import pandas as pd

from ebmpipe.report.cells import Cell
from ebmpipe.report.ranking import Comparison
from ebmpipe.report.reading import source_beside

#: Two results tie if they are within so many standard errors of each other.
TIE = 2.0


@dataclass(frozen=True)
class Check:
    """What became of the controls in one metric of one data set.

    Attributes:
        metric: its id.
        before_data: the labels that are better than held-out data; None if the data have no value.
        behind_noise: the labels that are worse than noise; None if noise has no value.
    """

    metric: str
    before_data: tuple[str, ...] | None
    behind_noise: tuple[str, ...] | None

    @property
    def exceptions(self) -> str:
        """The labels that are out of order, in words; empty if none is."""
        before, behind = (", ".join(labels or ()) for labels in (self.before_data, self.behind_noise))
        return "; ".join([f"{before} before data"] * bool(before) + [f"{behind} behind noise"] * bool(behind))


def standard_error(cell: Cell) -> float:
    """Standard error of a cell's mean: the spread over seeds divided by √n, and a run's own error, which its seeds have in common."""
    return hypot((cell.sd or 0.0) / sqrt(max(cell.n, 1)), cell.stderr or 0.0)


def better(one: Cell, other: Cell, sign: int) -> bool:
    """Whether ``one`` is better than ``other`` by more than a tie; ``sign`` is 1 where lower is better, -1 where higher is."""
    assert one.mean is not None and other.mean is not None
    return sign * (other.mean - one.mean) > TIE * hypot(standard_error(one), standard_error(other))


def cells_of(comparison: Comparison, metric: str) -> Iterator[tuple[str, str | None, Cell]]:
    """Every row of the table with a value: its name, whether it is a control, its cell."""
    for row in comparison.rows:
        beside = {f"{row.label}@{source_beside(comparison.source)}": row.beside[metric]} if metric in row.beside else {}
        for name, cell in ({row.label: row.cells[metric]} | beside).items():
            if cell.mean is not None:
                yield name, row.control, cell


def checks(comparison: Comparison) -> list[Check]:
    """What became of the controls in every metric that has a better side for models, and a value of a control and of something else."""
    found = []
    for metric, info in comparison.metrics.items():
        if info.better is None or not info.controlled or metric in comparison.ends:
            continue
        sign = 1 if info.better == "lower" else -1
        cells = list(cells_of(comparison, metric))
        of_data, of_noise = (next((cell for _, control, cell in cells if control == name), None) for name in ("data", "noise"))
        rest = [(name, cell) for name, control, cell in cells if control is None]
        # Each control is also compared with the other one.
        not_data = rest + ([("noise", of_noise)] if of_noise else [])
        if not not_data or not (of_data or of_noise):
            continue
        before = None if of_data is None else tuple(name for name, cell in not_data if better(cell, of_data, sign))
        behind = None if of_noise is None else tuple(name for name, cell in rest if better(of_noise, cell, sign))
        found.append(Check(metric, before, behind))
    return found


def in_words(dataset: str, found: list[Check]) -> str:
    """One line on a data set."""
    if not found:
        return f"{dataset}: no metric has a value of a control and of a method."
    parts = []
    for control, place, labels in (("data", "first", [c.before_data for c in found]), ("noise", "last", [c.behind_noise for c in found])):
        valued = [of_metric for of_metric in labels if of_metric is not None]
        ahead = f"{control} is {place} in {sum(not of_metric for of_metric in valued)} of {len(valued)} metrics"
        parts.append(ahead if valued else f"{control} has no value in any")
    exceptions = [f"{check.metric} ({check.exceptions})" for check in found if check.exceptions]
    return f"{dataset}: {', '.join(parts)}, ties within two standard errors included; exceptions: {'; '.join(exceptions) or 'none'}."


def controls_frame(comparisons: list[Comparison]) -> pd.DataFrame:
    """``controls.csv``: one row per data set and metric. ``data_first`` or ``noise_last`` is empty where that control has no value."""
    rows = [
        {
            "dataset": comparison.dataset,
            "metric": check.metric,
            "data_first": None if check.before_data is None else not check.before_data,
            "noise_last": None if check.behind_noise is None else not check.behind_noise,
            "exceptions": check.exceptions,
        }
        for comparison in comparisons
        for check in checks(comparison)
    ]
    columns = ["dataset", "metric", "data_first", "noise_last", "exceptions"]
    return pd.DataFrame(rows, columns=columns).astype({"data_first": "boolean", "noise_last": "boolean"})
