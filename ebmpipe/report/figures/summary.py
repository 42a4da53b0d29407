"""The overview: on every data set, who did best and at what cost."""

from __future__ import annotations

import textwrap
from math import ceil
from typing import Any, Literal

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpec, SubplotSpec

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.numbers import duration, quantity, significant
from ebmpipe.report.ranking import Comparison, Row
from ebmpipe.report.style import INK, MUTED, Look, plain_log, say
from ebmpipe.report.tables import column_title

LINE = 0.2
#: Characters of a line that says why a label is lost.
LONGEST = 95
#: A control this many times beyond the methods is not drawn to scale.
FAR = 30
BAND = "#E8F1F8"
KEY = (
    "Best first. Shaded, outlined: the best and what ties with it. Bars: standard deviation over seeds. Hollow: a seed diverged.",
    "Dashed: held-out data. Dotted: noise. Grey steps: nothing cheaper is better.",
)
BRACKETS = "Thin bars with ends: where the value is only known to lie; without a mark: no more than that is known."


def mean_of(row: Row, metric: str) -> float | None:
    """A row's mean in ``metric``."""
    return row.cells[metric].mean


def extent(row: Row, metric: str) -> tuple[float, ...]:
    """What a row shows of ``metric``: its mean, or the ends of its interval, or nothing."""
    cell = row.cells[metric]
    return cell.interval or (() if cell.mean is None else (cell.mean,))


def scale_of(values: list[float]) -> tuple[str, dict[str, float]]:
    """An axis scale that keeps the good ones apart though a bad one is far away."""
    sizes = np.abs([value for value in values if value])
    if not len(sizes) or (max(sizes) < 8 * min(sizes) and min(values) > 0):
        return "linear", {}
    if min(values) > 0:
        return "log", {}
    spread = max(values) - min(values)
    ordered = np.sort(sizes)
    middle = float(ordered[len(ordered) // 3])
    return ("symlog", {"linthresh": middle, "linscale": 0.6}) if spread > 12 * middle else ("linear", {})


def efficient(points: list[tuple[float, float]], better: str | None) -> list[tuple[float, float]]:
    """The points (cost, quality) that no cheaper one equals, by cost."""
    front: list[tuple[float, float]] = []
    sign = -1 if better == "higher" else 1
    for cost, quality in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if not front or sign * quality < sign * front[-1][1]:
            front.append((cost, quality))
    return front


def unranked(comparison: Comparison) -> str:
    """Why nothing can be ranked, label by label."""
    rows = [row for row in comparison.rows if not row.control]
    head = "no method finished" if not any(row.finished for row in rows) else "no metric to rank by"
    lost = [f"{row.label} {row.finished}/{row.total}: {'; '.join(row.reasons)}" for row in rows if row.reasons]
    return "\n".join([head, *(textwrap.shorten(line, LONGEST, placeholder=" …") for line in lost)])


class Summary(Figure):
    """Quality against cost: a ranking and a trade-off per data set."""

    name = "summary"
    title = "Quality against cost"
    caption = "summary.rst"
    category = "Overview"
    kinds = frozenset()

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        comparisons = context.comparisons
        columns = 1 if len(comparisons) == 1 else 2
        rows = ceil(len(comparisons) / columns)
        counts = [len([row for row in comparison.rows if not row.control]) for comparison in comparisons]
        heights = [max(1.5, LINE * max(counts[row * columns : (row + 1) * columns])) + 0.85 for row in range(rows)]
        figure = matplotlib.figure.Figure(figsize=(5.6 * columns if columns > 1 else 7.5, sum(heights) + 0.3), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # type: ignore[union-attr, call-arg]
        grid = GridSpec(rows, columns, figure, height_ratios=heights)
        for index, comparison in enumerate(comparisons):
            self.block(figure, grid[index // columns, index % columns], comparison, context.looks)
        bracketed = any(row.cells[each.headline].bracket for each in comparisons if each.headline for row in each.rows if not row.control)
        key = (" " if columns > 1 else "\n").join(KEY) + f"\n{BRACKETS}" * bracketed
        figure.supxlabel(key, fontsize=7, color=MUTED)
        return figure

    def block(self, figure: matplotlib.figure.Figure, place: SubplotSpec, comparison: Comparison, looks: dict[str, Look]) -> None:
        """One data set."""
        inner = place.subgridspec(1, 2, width_ratios=[1.1, 1], wspace=0.02)
        metric = comparison.headline
        ranking = figure.add_subplot(place if metric is None else inner[0])
        ranking.set_title(comparison.dataset, loc="left", fontweight="bold", fontsize=9.5)
        if metric is None:
            say(ranking, unranked(comparison))
            return
        trade = figure.add_subplot(inner[1])
        rows = [row for row in comparison.rows if not row.control]
        own = [value for row in rows for value in extent(row, metric)]
        scale, options = scale_of(own)
        ranking.set_xscale(scale, **options)
        trade.set_yscale(scale, **options)
        self.ranking(ranking, rows, metric, looks)
        self.trade(trade, rows, metric, comparison.metrics[metric].better, looks)
        controls = [row for row in comparison.rows if row.control and own]
        off = [self.reference(ranking, trade, row, metric, own, scale, looks) for row in controls]
        if scale == "log":
            plain_log(ranking.xaxis, *ranking.get_xlim())
            plain_log(trade.yaxis, *trade.get_ylim())
        away = f"\noff the scale: {', '.join(filter(None, off))}" if any(off) else ""
        ranking.set_xlabel(column_title(metric, comparison) + away)
        trade.set_ylabel(column_title(metric, comparison))
        costs = [row.costs["gradient_evaluations"] for row in rows if row.costs["gradient_evaluations"]]
        if costs and max(costs) < 1.05 * min(costs):
            budget = significant(float(np.mean(costs))).plain()
            trade.set_title(f"budget {budget} gradient evaluations", loc="right", fontsize=7, color=MUTED)

    def ranking(self, axes: Axes, rows: list[Row], metric: str, looks: dict[str, Look]) -> None:
        """Names from best to worst, mean and standard deviation, training time."""
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [row.label + (f" ({row.finished}/{row.total})" if row.reasons else "") for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        for place, (row, name) in enumerate(zip(rows, axes.get_yticklabels(), strict=True)):
            cell = row.cells[metric]
            if cell.best:
                axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
                name.set_fontweight("bold")
            if cell.bracket is not None:
                self.bracket(axes, cell.bracket, place, looks[row.label], along="x")
            if cell.mean is None and cell.interval is None:
                text = "diverged" if cell.status == "diverged" else "n/a"
                word = axes.text(
                    0.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=MUTED, style="italic"
                )
                word.set_bbox({"facecolor": "white", "linewidth": 0, "pad": 1})  # a control's line may run there
            elif cell.mean is not None:
                self.point(axes, cell.mean, place, looks[row.label], row, xerr=cell.sd, best=cell.best)
            if (seconds := row.costs["train_s"]) is not None:
                axes.text(1.02, place, duration(seconds), transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=INK)
        axes.text(1.02, 1.0, "training", transform=axes.transAxes, va="bottom", fontsize=7, color=MUTED)

    def trade(self, axes: Axes, rows: list[Row], metric: str, better: str | None, looks: dict[str, Look]) -> None:
        """Quality against training seconds, and the line that no cheaper method gets past."""
        points = []
        for row in rows:
            cell, seconds = row.cells[metric], row.costs["train_s"]
            if cell.bracket is not None and seconds:
                self.bracket(axes, cell.bracket, seconds, looks[row.label], along="y")
            if cell.mean is not None and seconds:
                points.append((seconds, cell.mean, row.competes))
                self.point(axes, seconds, cell.mean, looks[row.label], row, yerr=cell.sd, best=cell.best)
        front = efficient([(seconds, mean) for seconds, mean, competes in points if competes], better)
        if len(front) > 1:
            axes.plot(*np.array(front).T, color=MUTED, linewidth=0.7, drawstyle="steps-post", zorder=1)
        if points and max(points)[0] > 4 * min(points)[0]:
            axes.set_xscale("log")
            plain_log(axes.xaxis, min(points)[0], max(points)[0])
        axes.margins(x=0.08)
        axes.grid()
        axes.set_xlabel("training time (s)")

    def bracket(self, axes: Axes, ends: tuple[float, float], at: float, look: Look, *, along: Literal["x", "y"]) -> None:
        """A thin bar between the two ends of what is known of a value, ``at`` on the other axis."""
        middle, half = sum(ends) / 2, (ends[1] - ends[0]) / 2
        x, y, xerr, yerr = (middle, at, half, None) if along == "x" else (at, middle, None, half)
        axes.errorbar(x, y, xerr=xerr, yerr=yerr, fmt="none", ecolor=look.colour, elinewidth=0.5, capsize=2, capthick=0.5, zorder=2)

    def point(
        self, axes: Axes, x: float, y: float, look: Look, row: Row, *, best: bool, xerr: float | None = None, yerr: float | None = None
    ) -> None:
        """A mean with its spread; hollow if seeds were lost, outlined if it is among the best."""
        face, edge = look.colour if row.competes else "white", INK if best else look.colour
        axes.errorbar(
            x, y, xerr=xerr, yerr=yerr, fmt=look.marker, color=look.colour, markerfacecolor=face, markeredgecolor=edge, markersize=5.5,
            markeredgewidth=1, elinewidth=1, zorder=3,
        )  # fmt: skip

    def reference(self, ranking: Axes, trade: Axes, row: Row, metric: str, own: list[float], scale: str, looks: dict[str, Look]) -> str:
        """Draw a control as a line; one that would squash the methods into a corner is returned as text instead."""
        value, look, low, high = mean_of(row, metric), looks[row.label], min(own), max(own)
        if value is None:
            return ""
        reach = 1.5 * (high - low) + 0.5 * abs(high)
        if not (low / FAR < value < high * FAR if scale == "log" else low - reach < value < high + reach):
            cell = row.cells[metric]
            return f"{row.label} {quantity(value, known_to=max(cell.sd or 0.0, cell.stderr or 0.0)).plain()}"
        for line in (ranking.axvline, trade.axhline):
            line(value, color=look.colour, linestyle=(0, (4, 2)) if row.control == "data" else look.line, linewidth=0.8, zorder=1)
        place: dict[str, Any] = {"xy": (1.0, value), "xycoords": ("axes fraction", "data"), "xytext": (0, 1), "textcoords": "offset points"}
        trade.annotate(row.label, **place, ha="right", va="bottom", fontsize=7, color=look.colour)
        return ""
