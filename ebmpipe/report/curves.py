"""Training curves: what is read from a run's history and how one quantity is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from ebmpipe.history import WATCHED
from ebmpipe.report.reading import Run
from ebmpipe.report.style import Look, plain_log

TITLES = {
    "energy_gap": "energy gap: data minus negatives (nats)",
    "gradient_norm": "gradient norm",
    "loss": "loss",
    "age": "mean age of the chains (steps)",
    "lineages": "lineages among the chains",
    "log_partition": "log Z, the run's own (nats)",
    "clipped": "fraction of gradients clipped",
    "cost": "gradient evaluations of an update",
}
LOGARITHMIC = {"gradient_norm"}


def curves_of(run: Run) -> pd.DataFrame:
    """A run's history, with the gap of the energies where both are there in place of them, and without what has a figure of its own."""
    history = run.history.copy().drop(columns=["d_t", "r_t", "age_max", *WATCHED], errors="ignore")
    if {"energy_data", "energy_negative"} <= set(history):
        history["energy_gap"] = history["energy_data"] - history["energy_negative"]
        # A contrastive loss is the gap itself, and needs no second panel.
        same = "loss" in history and np.allclose(history["loss"], history["energy_gap"], equal_nan=True)
        history = history.drop(columns=["energy_data", "energy_negative"] + ["loss"] * same)
    return history


def title_of(name: str) -> str:
    """What a panel calls a quantity of the history."""
    return TITLES.get(name, name.replace("_", " "))


def smooth(series: pd.Series[float]) -> pd.Series[float]:
    """Running median over a twentieth of the curve; a monotone curve has no noise, and its ends would bend."""
    if series.is_monotonic_increasing or series.is_monotonic_decreasing:
        return series
    return series.rolling(max(1, len(series) // 20), center=True, min_periods=1).median()


def finite(history: pd.DataFrame, name: str, clock: str = "gradient_evaluations") -> pd.Series[float]:
    """The finite values of a quantity by the reading of a clock, one of `ebmpipe.history.CLOCK`; empty if the history has none."""
    if name not in history:
        return pd.Series(dtype=float)
    return history.set_index(clock, drop=False)[name].astype(float).replace([np.inf, -np.inf], np.nan).dropna()


def together(curves: Sequence[pd.Series[float]]) -> pd.DataFrame:
    """Several curves side by side, at all places of each between which all of them are known; each is straight between two of its own."""
    return pd.concat(curves, axis=1).sort_index().interpolate(limit_area="inside", method="index").dropna()


def averaged(histories: Sequence[pd.DataFrame], name: str, clock: str) -> pd.DataFrame:
    """Mean and standard deviation of a quantity over several histories, update by update, as far as the shortest of them.

    Returns:
        ``mean`` and ``sd``, which is missing of one history, and ``at``, the mean reading of ``clock`` at the same update: so that seeds
        that a busy machine held up are not averaged with others that were further on.
    """
    values = together([finite(history, name, "step") for history in histories])
    readings = together([finite(history, clock, "step") for history in histories])
    return pd.DataFrame({"at": readings.mean(axis=1), "mean": values.mean(axis=1), "sd": values.std(axis=1, ddof=1)}).loc[values.index]


def curve(axes: Axes, runs: Iterable[Run], histories: Iterable[pd.DataFrame], name: str, look: Look, band: bool) -> None:
    """Median over the seeds that were trained to the end, their range if ``band``, and every other seed up to where training diverged."""
    finished = []
    for run, history in zip(runs, histories, strict=True):
        series = finite(history, name)
        if series.empty:
            continue
        if run.training_diverged:
            axes.plot(series.index, series, color=look.colour, linestyle=look.line, linewidth=0.8, alpha=0.7)
        else:
            finished.append(smooth(series[~series.index.duplicated()]))
    if finished:
        together = pd.concat(finished, axis=1).sort_index().interpolate(limit_area="inside", method="index")
        if len(finished) > 1 and band:
            axes.fill_between(together.index, together.min(axis=1), together.max(axis=1), color=look.colour, alpha=0.18, linewidth=0)
        axes.plot(together.index, together.median(axis=1), color=look.colour, linestyle=look.line, linewidth=1.2)


def mark_divergences(
    axes: Axes, runs: Iterable[Run], histories: Iterable[pd.DataFrame], name: str, look: Look, clock: str = "gradient_evaluations"
) -> set[Run]:
    """Cross the end of every curve where training diverged, at the edge of the framed panel if it lies outside; returns those runs."""
    low, high = axes.get_ylim()
    marked = set()
    for run, history in zip(runs, histories, strict=True):
        series = finite(history, name, clock)
        if run.training_diverged and len(series):
            end = float(np.clip(series.iloc[-1], low, high))
            axes.plot(series.index[-1:], [end], "X", color=look.colour, markersize=6, markeredgecolor="white", zorder=4, clip_on=False)
            marked.add(run)
    axes.set_ylim(low, high)
    return marked


def limits(axes: Axes, histories: Iterable[pd.DataFrame], name: str) -> None:
    """Leave the wild first updates, and a diverging last one, outside the frame."""
    values = np.concatenate([history[name].to_numpy(dtype=float) for history in histories if name in history])
    values = values[np.isfinite(values)]
    if len(values) and name not in LOGARITHMIC:
        low, high = np.quantile(values, [0.01, 0.99])
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(max(values.min(), low - margin) - margin / 2, min(values.max(), high + margin) + margin / 2)


def frame(axes: Axes, name: str, title: str, histories: Iterable[pd.DataFrame]) -> None:
    """Frame a panel that shows the quantity ``name`` of ``histories`` against gradient evaluations: title, scale and limits."""
    axes.set_title(title)
    if name in LOGARITHMIC:
        axes.set_yscale("log")
        plain_log(axes.yaxis, *axes.get_ylim())
    if all((history[name].dropna() % 1 == 0).all() for history in histories if name in history):
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    limits(axes, histories, name)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
