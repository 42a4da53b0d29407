"""One label's result in one metric: a mean over seeds, an interval where there is no honest number, or why there is neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ebmpipe.report.numbers import Interval, Quantity, interval, quantity

#: How the status of a value begins that cannot be said as a number, but as an interval between two others.
INTERVAL = "interval: "
#: How the ids of the two ends of a metric's bracket end.
ENDS = ("_lower", "_upper")


def ends_of(metric: str) -> tuple[str, str]:
    """The ids of the two ends of a metric's bracket, whether there are such or not."""
    return metric + ENDS[0], metric + ENDS[1]


def ends_in(metrics: Iterable[str]) -> set[str]:
    """Those of ``metrics`` that are ends of another one's bracket."""
    known = set(metrics)
    return {end for metric in known for end in ends_of(metric)} & known


@dataclass(frozen=True)
class Cell:
    """One label's result in one metric over its seeds.

    Attributes:
        mean: mean over the seeds that have a value.
        sd: their standard deviation, None of fewer than two.
        n: how many they are.
        status: ``ok``, or why there is no mean.
        best: whether the tables print it bold.
        stderr: mean of the standard errors that the runs give their own values, None if they give none.
        bracket: means of the two ends between which the runs know their values to lie, None where they say nothing of that.
    """

    mean: float | None = None
    sd: float | None = None
    n: int = 0
    status: str = "ok"
    best: bool = False
    stderr: float | None = None
    bracket: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bracket where it stands in place of a number; None elsewhere."""
        return self.bracket if self.status.startswith(INTERVAL) else None

    @property
    def quantity(self) -> Quantity | Interval | None:
        """The result to the digits that it is known to."""
        if self.interval is not None:
            return interval(*self.interval)
        return None if self.mean is None else quantity(self.mean, self.sd, self.stderr)

    def at_worst(self, better: str | None) -> float | None:
        """The mean; of an interval its less favourable end."""
        if self.interval is None:
            return self.mean
        return self.interval[0] if better == "higher" else self.interval[1]


def cell_of(rows: pd.DataFrame, lower: pd.DataFrame | None = None, upper: pd.DataFrame | None = None) -> Cell:
    """Mean and standard deviation over the seeds that have a value; the commonest reason if none has.

    If a seed has an interval in place of a value, so has the cell: a mean over the others would be one over those that happen to be known.

    Args:
        rows: the metric's rows, one per seed.
        lower, upper: the rows of the ends of its bracket, if it has one.
    """
    known = rows.loc[rows["status"] == "ok"]
    unsure = rows.loc[rows["status"].str.startswith(INTERVAL)]
    bracket = bracket_of(pd.concat([known, unsure])["seed"], lower, upper)
    if len(unsure):
        return Cell(n=len(known) + len(unsure), status=str(unsure["status"].mode().iloc[0]), bracket=bracket)
    values = known["value"].to_numpy(dtype=float)
    if not len(values):
        return Cell(status=str(rows["status"].mode().iloc[0]) if len(rows) else "not available: not measured")
    errors = known["stderr"].to_numpy(dtype=float)
    stderr = float(errors[~np.isnan(errors)].mean()) if not np.isnan(errors).all() else None
    return Cell(
        float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None, len(values), stderr=stderr, bracket=bracket
    )  # fmt: skip


def bracket_of(seeds: pd.Series, lower: pd.DataFrame | None, upper: pd.DataFrame | None) -> tuple[float, float] | None:
    """Means of both ends over ``seeds``, the smaller one first; None unless every seed has both."""
    means = []
    for rows in (lower, upper):
        if rows is None or not len(seeds):
            return None
        found = rows.loc[(rows["status"] == "ok") & rows["seed"].isin(seeds), "value"].to_numpy(dtype=float)
        if len(found) < len(seeds):
            return None
        means.append(float(found.mean()))
    return min(means), max(means)
