"""How likely held-out data were under the weights in training: what the histories of watched runs come to, and how their labels differ.

A run's value is the mean of ``log_likelihood`` over the last tenth of the rows of its history up to an end, which is one of three: that of
all its updates; the largest number of gradient evaluations that every run of the data set reached; or the most seconds, likewise. So labels
are compared as they are after all updates, at equal budgets and in equal time. Labels differ by their values on equal seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from ebmpipe.report.dialects import MARKDOWN
from ebmpipe.report.differences import difference, paired
from ebmpipe.report.numbers import quantity, significant
from ebmpipe.report.reading import Run

#: The quantity, and the column of the history that each comparison goes by.
QUANTITY = "log_likelihood"
CLOCKS = {"updates": "step", "gradient_evaluations": "gradient_evaluations", "seconds": "wall_s"}
#: Share of the rows that a value is the mean of.
LAST = 0.1
COLUMNS = [
    "dataset", "method", "at", "end", "seeds", "total", "log_likelihood", "log_likelihood_sd", "within_run_sd",
    "reference", "pairs", "difference", "difference_low", "difference_high",
]  # fmt: skip


@dataclass(frozen=True)
class Watched:
    """The histories of one label.

    Attributes:
        total: how many seeds it has.
        histories: by seed, of those that were trained to the end and whose likelihood was written down.
    """

    total: int
    histories: Mapping[int, pd.DataFrame] = field(default_factory=dict)


def watched(groups: Mapping[str, Sequence[Run]]) -> dict[str, Watched]:
    """The histories of the labels of one data set, in their order, without controls, which train nothing."""
    found = {}
    for label, group in groups.items():
        if not any(run.control for run in group):
            finished = {run.seed: run.history for run in group if not run.training_diverged}
            histories = {seed: history for seed, history in finished.items() if QUANTITY in history and history[QUANTITY].notna().any()}
            found[label] = Watched(len(group), histories)
    return found


@dataclass(frozen=True)
class Level:
    """Where a run's likelihood was towards an end.

    Attributes:
        mean: mean over the last tenth of the rows, nats per example.
        sd: their standard deviation, how much the likelihood swings; None of fewer than two.
    """

    mean: float
    sd: float | None


def level(history: pd.DataFrame, clock: str, end: float) -> Level | None:
    """`Level` over the last tenth, counted up, of the rows of a history whose ``clock`` reads ``end`` or less; None without a value."""
    before = history[history[clock] <= end]
    values = before[QUANTITY].iloc[len(before) - ceil(LAST * len(before)) :].dropna().to_numpy(dtype=float)
    if not len(values):
        return None
    return Level(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)


def common_end(histories: Sequence[pd.DataFrame], clock: str) -> float | None:
    """The last reading of ``clock`` that every history reached; None of no histories."""
    return min((float(history[clock].max()) for history in histories), default=None)


def rows(labels: Mapping[str, Watched]) -> list[dict[str, Any]]:
    """The rows of one data set: label by label, each at three ends. The first label is the one that others are compared with."""
    every = [history for found in labels.values() for history in found.histories.values()]
    reference = next(iter(labels), None)
    made = []
    for at, clock in CLOCKS.items():
        end = None if at == "updates" else common_end(every, clock)
        levels = {label: levels_of(found, clock, end) for label, found in labels.items()}
        means = {label: {seed: one.mean for seed, one in of_label.items()} for label, of_label in levels.items()}
        for label, found in labels.items():
            values, swings = list(means[label].values()), [one.sd for one in levels[label].values() if one.sd is not None]
            own = [float(history[clock].max()) for history in found.histories.values()]
            row: dict[str, Any] = {
                "method": label,
                "at": at,
                "end": end if end is not None or not own else float(np.mean(own)),
                "seeds": len(values),
                "total": found.total,
                "log_likelihood": float(np.mean(values)) if values else None,
                "log_likelihood_sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "within_run_sd": float(np.mean(swings)) if swings else None,
                "reference": reference,
            }
            if label != reference and (difference := paired(means[label], means[str(reference)])):
                row |= {"pairs": difference.pairs, "difference": difference.mean}
                row |= {"difference_low": difference.low, "difference_high": difference.high}
            made.append(row)
    order = {label: place for place, label in enumerate(labels)}
    return sorted(made, key=lambda row: order[row["method"]])


def levels_of(found: Watched, clock: str, end: float | None) -> dict[int, Level]:
    """A label's levels by seed, at a common end or, without one, each at its own."""
    ends = {seed: float(history[clock].max()) if end is None else end for seed, history in found.histories.items()}
    levels = {seed: level(history, clock, ends[seed]) for seed, history in found.histories.items()}
    return {seed: one for seed, one in levels.items() if one is not None}


def frame(datasets: Mapping[str, Mapping[str, Watched]]) -> pd.DataFrame:
    """``trajectories.csv``: a row per data set, label and end (``at``, with what the clock then read in ``end``).

    ``log_likelihood`` is the mean over ``seeds`` of ``total``, nats per example, ``log_likelihood_sd`` its standard deviation over them,
    ``within_run_sd`` the mean of those within runs. ``difference`` is that to ``reference``, over ``pairs`` of equal seeds, with the ends
    of its 95 % interval. What there is no value of is missing.
    """
    found = [{"dataset": dataset} | row for dataset, labels in datasets.items() for row in rows(labels)]
    whole = dict.fromkeys(("seeds", "total", "pairs"), "Int64")
    numbers = [name for name in COLUMNS if name not in (*whole, "dataset", "method", "at", "reference")]
    return pd.DataFrame(found, columns=COLUMNS).astype(whole | dict.fromkeys(numbers, "float64"))


INTRO = (
    "Mean log-likelihood of the validation split under the weights in training, nats per example: mean over the last tenth of the rows of "
    "a run's history up to an end, then mean ± standard deviation over seeds; ↑ higher is better, minus the entropy of the data is the "
    "best there is. Swing: standard deviation over those rows, mean over seeds. Less …: difference to that label over equal seeds, with a "
    "95 % interval by Student's t, which takes two seeds."
)
HEADS = {"updates": "all updates", "gradient_evaluations": "{} gradient evaluations", "seconds": "{} s of training"}


def value(row: Any) -> str:
    """A mean over seeds, with its deviation if it has one; n/a if there is none."""
    if pd.isna(row.log_likelihood):
        return "n/a"
    return MARKDOWN.number(quantity(row.log_likelihood, None if pd.isna(row.log_likelihood_sd) else row.log_likelihood_sd))


def swing(row: Any) -> str:
    """The deviation within runs, to two digits."""
    return "n/a" if pd.isna(row.within_run_sd) else MARKDOWN.number(significant(row.within_run_sd))


def table(dataset: str, found: pd.DataFrame) -> str:
    """The table of one data set: a row per label, and for each end its level, its swing and its difference."""
    head, body, reference = ["method", "finished"], [], str(found["reference"].iloc[0])
    for at, text in HEADS.items():
        ends = found.loc[found["at"] == at, "end"].dropna()
        head.append(f"{text.format(significant(ends.iloc[0], 3).plain() if len(ends) else '')} ↑".strip())
        head += ["swing", f"less {reference}"]
    for label, of_label in found.groupby("method", sort=False):
        by_end: dict[str, Any] = {str(row.at): row for row in of_label.itertuples()}
        cells = [
            cell
            for at in HEADS
            for cell in (
                value(by_end[at]),
                swing(by_end[at]),
                difference(by_end[at]) if by_end[at].method != by_end[at].reference else "–",
            )
        ]
        one: Any = by_end["updates"]
        body.append([MARKDOWN.name(str(label)), f"{one.seeds}/{one.total}", *cells])
    return MARKDOWN.table(MARKDOWN.name(dataset), [MARKDOWN.text(cell) for cell in head], body, [], "")


def markdown(found: pd.DataFrame) -> str:
    """``trajectories.md``, of `frame`."""
    made = [table(str(dataset), of_dataset) for dataset, of_dataset in found.groupby("dataset", sort=False)]
    return "\n".join(["# Likelihood while training", "", MARKDOWN.text(INTRO), "", *made])
