"""Diagnostics of methods that train with a Markov chain."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10, sqrt

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.curves import curve, finite, mark_divergences
from ebmpipe.report.reading import Run
from ebmpipe.report.style import INK, MUTED, Look, panels, say

#: The columns of the history that are drawn.
DIFFERENCE, STRENGTH = "d_t", "r_t"
DIFFERENCE_TITLE = "$d_t$: mean energy of data less negatives' (nats)"
#: Kernels whose proposals are a drift of -(ε²/2) ∇E and Gaussian noise.
LANGEVIN = ("ula", "mala")
#: Most bins of a distribution.
BINS = 40
#: What is this many times beyond the usual d_t leaves the linear part of the axis.
FAR = 6


def settled(history: pd.DataFrame) -> np.ndarray:
    """d_t in the second half of training."""
    series = finite(history, DIFFERENCE)
    return series[series.index > series.index.max() / 2].to_numpy() if len(series) else np.empty(0)


def balance(run: Run, dimension: int) -> float | None:
    """The ‖∇E‖ at which a Langevin step's drift, (ε²/2) ‖∇E‖, is as long as its noise, σ √D; None for other kernels."""
    kernel = run.config.get("settings", {}).get("kernel", {})
    if kernel.get("name") not in LANGEVIN:
        return None
    step, noise = kernel["settings"]["step_size"], kernel["settings"].get("noise_scale")
    return float(2 * (step if noise is None else noise) * sqrt(dimension) / step**2)


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def round_down(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that does not exceed ``value``; 1 for what is not positive."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return power * max(digit for digit in (1, 2, 5) if digit * power <= value * (1 + 1e-9))


class Diagnostics(Figure):
    """Whether chains keep up with the energy, and what moves them: d_t and r_t of Nijkamp et al. 2020, one method per row."""

    name = "diagnostics"
    title = "Diagnostics of the chains"
    caption = "diagnostics.rst"
    category = "Training"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        histories = {label: [run.history for run in group] for label, group in context.groups.items()}
        shown = {label: group for label, group in histories.items() if any(len(finite(one, DIFFERENCE)) for one in group)}
        if not shown:
            figure, axes = panels(1, 1, 5, 1.2)
            say(axes[0], "no method here reports diagnostics of a Markov chain")
            return figure
        figure = matplotlib.figure.Figure(figsize=(10, 0.72 * len(shown) + 0.75), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0.03, wspace=0.01)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(len(shown), 3, squeeze=False, width_ratios=(5, 1.5, 4.2))
        levels = [balance(context.groups[label][0], context.spec.dimension) for label in shown]
        for row, label, level in zip(grid, shown, levels, strict=True):
            self.row(row, context, label, shown[label], level)
        self.frame(grid, list(shown.values()))
        linear = self.scale_differences(list(grid[:, :2].flat), list(shown.values()))
        if linear is not None:
            grid[0, 0].set_title(f"{DIFFERENCE_TITLE}; logarithmic beyond ±{number(linear)}", loc="left")
        self.scale_strengths(list(grid[:, 2]), list(shown.values()), [level for level in levels if level is not None])
        for row, label in zip(grid, shown, strict=True):
            for axes, name in ((row[0], DIFFERENCE), (row[2], STRENGTH)):
                mark_divergences(axes, context.groups[label], shown[label], name, context.looks[label])
        figure.supxlabel(f"{context.id} · gradient evaluations", fontsize=8)
        return figure

    def row(self, row: Sequence[Axes], context: Context, label: str, histories: list[pd.DataFrame], level: float | None) -> None:
        """One method: d_t over training, its distribution in the second half, and r_t over training."""
        strip, margin, strength = row
        runs, look = context.groups[label], Look(context.looks[label].colour, context.looks[label].marker)
        strip.set_ylabel(context.name(label).replace(" (", "\n("), rotation=0, ha="right", va="center", labelpad=4)
        for axes, name in ((strip, DIFFERENCE), (strength, STRENGTH)):
            for run, history in zip(runs, histories, strict=True):
                series = finite(history, name)
                if len(series) and not run.training_diverged:
                    axes.plot(series.index, series, color=look.colour, linewidth=0.5, alpha=0.35)
            curve(axes, runs, histories, name, look, band=False)
        halves = [settled(one) for run, one in zip(runs, histories, strict=True) if not run.training_diverged]
        values = np.concatenate([np.empty(0), *halves])
        if len(values):
            self.distribution(margin, values, look.colour)
        if level is not None:
            strength.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)

    def distribution(self, axes: Axes, values: np.ndarray, colour: str) -> None:
        """A histogram that continues the curve beside it, and what it comes to."""
        low, high = np.quantile(values, [0.005, 0.995])
        bins = min(BINS, max(5, int(sqrt(len(values)))))
        counts, edges = np.histogram(values, np.linspace(low, high, bins + 1) if high > low else bins)
        axes.stairs(counts / counts.max(), edges, orientation="horizontal", fill=True, color=colour, alpha=0.6, linewidth=0)
        text = f"mean {number(float(f'{values.mean():.2g}'))}\n{(values > 0).mean():.0%} positive"
        around = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # the zero line must not strike through the numbers
        axes.text(1.0, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=6.5, color=INK, linespacing=1.3, bbox=around)

    def frame(self, grid: np.ndarray, groups: list[list[pd.DataFrame]]) -> None:
        """Titles and time axes."""
        grid[0, 0].set_title(DIFFERENCE_TITLE, loc="left")
        grid[0, 1].set_title("second half", loc="left")
        grid[0, 2].set_title("$r_t$: mean norm of $\\nabla E$ along the chains; dotted: drift = noise", loc="left")
        end = max(float(history["gradient_evaluations"].max()) for group in groups for history in group if len(history))
        for index, (strip, margin, strength) in enumerate(grid):
            for axes in (strip, strength):
                axes.set_xlim(0, end)
                axes.xaxis.set_major_locator(MaxNLocator(5))
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))
                axes.tick_params(axis="x", labelbottom=index == len(grid) - 1)
            strip.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
            margin.plot([0, 1.1], [0, 0], color=MUTED, linewidth=0.7, zorder=1)
            margin.set_xlim(0, 2.6)
            margin.set_xticks([])
            margin.tick_params(axis="y", left=False, which="both", labelleft=False)
            margin.spines[["left", "bottom"]].set_visible(False)

    def scale_differences(self, axes: list[Axes], groups: list[list[pd.DataFrame]]) -> float | None:
        """One scale for every d_t: linear where the second half of training lies, and beyond it, if that is far off, logarithmic.

        Returns the end of the linear part; None if all is linear.
        """
        values = [np.concatenate([finite(history, DIFFERENCE).to_numpy() for history in group]) for group in groups]
        low, high = (extreme(0.0, *(float(np.quantile(one, q)) for one in values)) for extreme, q in ((min, 0.005), (max, 0.995)))
        halves = [half for group in groups if len(half := np.concatenate([settled(history) for history in group]))]
        usual = round_down(2 * float(np.median([np.quantile(np.abs(half), 0.9) for half in halves])))
        wide = max(-low, high) > FAR * usual
        edge = round_down(max(-low, high))
        for panel in axes:
            if wide:
                panel.set_yscale("symlog", linthresh=usual, linscale=1)
                panel.yaxis.set_major_locator(FixedLocator([-edge, -usual, 0, usual, edge]))
                panel.yaxis.set_minor_locator(NullLocator())
            else:
                panel.yaxis.set_major_locator(MaxNLocator(3))
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            panel.set_ylim(low * 1.1 - 0.1 * usual, high * 1.1 + 0.1 * usual)
        return usual if wide else None

    def scale_strengths(self, axes: list[Axes], groups: list[list[pd.DataFrame]], levels: list[float]) -> None:
        """One logarithmic scale for every r_t, and for where drift and noise are equal."""
        values = np.concatenate([finite(history, STRENGTH).to_numpy() for group in groups for history in group])
        values = values[values > 0]
        ends = [*np.quantile(values, [0.005, 0.995]), *levels] if len(values) else [1.0, *levels]
        for panel in axes:
            panel.set_yscale("log")
            panel.set_ylim(min(ends) / 1.5, max(ends) * 1.5)
            panel.yaxis.set_major_locator(LogLocator(numticks=4))
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            panel.yaxis.set_minor_formatter(NullFormatter())
