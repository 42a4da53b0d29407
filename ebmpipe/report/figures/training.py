"""Training curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.reading import Run
from ebmpipe.report.style import Look, balanced, panels, plain_log, say

CLOCK = ["step", "gradient_evaluations", "wall_s"]
TITLES = {
    "energy_gap": "energy gap: data minus negatives (nats)",
    "gradient_norm": "gradient norm",
    "loss": "loss",
    "age": "age of the chains (steps)",
}
LOGARITHMIC = {"gradient_norm"}
SHARED_PANELS = 9


def curves_of(run: Run) -> pd.DataFrame:
    """A run's history, with the gap of the energies where both are there in place of them."""
    history = run.history.copy()
    if {"energy_data", "energy_negative"} <= set(history):
        history["energy_gap"] = history["energy_data"] - history["energy_negative"]
        # A contrastive loss is the gap itself, and needs no second panel.
        same = "loss" in history and np.allclose(history["loss"], history["energy_gap"], equal_nan=True)
        history = history.drop(columns=["energy_data", "energy_negative"] + ["loss"] * same)
    return history


def smooth(series: pd.Series[float]) -> pd.Series[float]:
    """Running median over a twentieth of the curve; a monotone curve has no noise, and its ends would bend."""
    if series.is_monotonic_increasing or series.is_monotonic_decreasing:
        return series
    return series.rolling(max(1, len(series) // 20), center=True, min_periods=1).median()


def curve(axes: Axes, runs: Iterable[Run], histories: Iterable[pd.DataFrame], name: str, look: Look, band: bool) -> None:
    """Median over the finished seeds, their range if ``band``, and every diverged seed up to its end."""
    finished = []
    for run, history in zip(runs, histories, strict=True):
        if name not in history or history[name].notna().sum() == 0:
            continue
        series = history.set_index("gradient_evaluations")[name].replace([np.inf, -np.inf], np.nan).dropna()
        if run.diverged:
            axes.plot(series.index, series, color=look.colour, linestyle=look.line, linewidth=0.8, alpha=0.7)
            axes.plot(series.index[-1:], series.iloc[-1:], "X", color=look.colour, markersize=6, markeredgecolor="white", zorder=4)
        else:
            finished.append(smooth(series[~series.index.duplicated()]))
    if finished:
        together = pd.concat(finished, axis=1).sort_index().interpolate(limit_area="inside", method="index")
        if len(finished) > 1 and band:
            axes.fill_between(together.index, together.min(axis=1), together.max(axis=1), color=look.colour, alpha=0.18, linewidth=0)
        axes.plot(together.index, together.median(axis=1), color=look.colour, linestyle=look.line, linewidth=1.2)


def limits(axes: Axes, histories: Iterable[pd.DataFrame], name: str) -> None:
    """Leave the wild first updates, and a diverging last one, outside the frame."""
    values = np.concatenate([history[name].to_numpy(dtype=float) for history in histories if name in history])
    values = values[np.isfinite(values)]
    if len(values) and name not in LOGARITHMIC:
        low, high = np.quantile(values, [0.01, 0.99])
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(max(values.min(), low - margin) - margin / 2, min(values.max(), high + margin) + margin / 2)


class Training(Figure):
    """How training went, against its cost."""

    name = "training"
    title = "Training curves"
    caption = "training.rst"
    category = "Training"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        histories = {label: [curves_of(run) for run in group] for label, group in context.groups.items() if not context.row(label).control}
        counts = Counter(
            column
            for group in histories.values()
            for column in dict.fromkeys(str(column) for history in group for column in history if history[column].notna().any())
            if column not in CLOCK
        )
        first = [name for name in ("energy_gap", "gradient_norm") if name in counts]
        others = sorted((name for name in counts if name not in (*first, "loss")), key=lambda name: (-counts[name], name))
        shared = (first + others)[:SHARED_PANELS]
        with_loss = [label for label, group in histories.items() if any("loss" in history for history in group)]
        panes = [("shared", name) for name in shared] + [("loss", label) for label in with_loss]
        ends = [float(history["gradient_evaluations"].max()) for group in histories.values() for history in group if len(history)]
        columns = balanced(len(panes), 4 if len(panes) > 6 else 3)
        figure, axes = panels(max(1, len(panes)), columns, 10 / columns if columns > 2 else 4, 1.8)
        if not panes:
            say(axes[0], "no training history")
        for (pane, name), panel in zip(panes, axes, strict=False):
            panel.grid(axis="y")
            chosen = [name] if pane == "loss" else list(histories)
            key = "loss" if pane == "loss" else name
            for label in chosen:
                curve(panel, context.groups[label], histories[label], key, context.looks[label], len(chosen) <= 6)
            panel.set_title(f"loss · {name}" if pane == "loss" else TITLES.get(name, name.replace("_", " ")))
            if name in LOGARITHMIC:
                panel.set_yscale("log")
                plain_log(panel.yaxis, *panel.get_ylim())
            limits(panel, [history for label in chosen for history in histories[label]], key)
            panel.set_xlim(0, max(ends))
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        self.legend(figure, context, list(histories))
        figure.supxlabel(f"{context.id} · gradient evaluations", fontsize=8)
        return figure

    def legend(self, figure: matplotlib.figure.Figure, context: Context, labels: list[str]) -> None:
        """Which line is whose."""
        handles = [Line2D([], [], color=context.looks[label].colour, linestyle=context.looks[label].line, label=label) for label in labels]
        if any(context.row(label).finished < context.row(label).total for label in labels):
            handles.append(Line2D([], [], color="black", marker="X", linestyle="none", label="diverged"))
        most = max(1, int(figure.get_figwidth() / (0.7 + 0.07 * max((len(label) for label in labels), default=0))))
        if handles:
            figure.legend(handles=handles, loc="outside upper center", ncols=balanced(len(handles), most), handlelength=2.6)
