"""How the chains of every energy mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ebmpipe.metrics.mixing import MIXED
from ebmpipe.mixing.record import LATENT, KernelRun, LongRun
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.long_runs import Found, empty, name_row, runs_with_chains
from ebmpipe.report.style import INK, MUTED, PALE, Look

#: Bins of a histogram over the whole axis, and the least number of coordinates that are worth one.
BINS, FEW = 60, 12
#: R-hat less 1 at which the axis is marked, and the least that it shows.
MARKS, LEAST = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0), 3e-4
#: Lines of the primary kernel and of the others.
STYLES: tuple[Any, ...] = ("-", (0, (3, 1.3)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
GREY = "#9A9A9A"


def parts(record: LongRun, kernel: KernelRun) -> tuple[np.ndarray, float, np.ndarray]:
    """R-hat less 1 of the coordinates, of E, and of the indicators of modes or classes, without what is constant."""
    rhat = np.maximum(kernel.arrays["rhat"] - 1, LEAST)
    dimension = len(rhat) - 1 - (record.modes + 1 if record.modes else 0)
    found = [values[np.isfinite(values)] for values in (rhat[:dimension], rhat[dimension + 1 :])]
    return found[0], float(rhat[dimension]), found[1]


def in_words(kernel: str) -> str:
    """What a kernel's name is in a figure."""
    return f"{kernel.removeprefix(LATENT)}, latent" if kernel.startswith(LATENT) else kernel


class Mixing(Figure):
    """R-hat of every quantity, and autocorrelation of the energy and of the slowest coordinate, one label per row."""

    name = "mixing"
    title = "Mixing of the chains"
    caption = "mixing.rst"
    category = "Mixing"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        shown = {
            label: kept
            for label, found in runs_with_chains(context).items()
            if (kept := [one for one in found if any(kernel.lost is None for kernel in one[1].kernels.values())])
        }
        if not shown:
            return empty()
        figure = matplotlib.figure.Figure(figsize=(10, 0.62 * len(shown) + 1.15), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.02, hspace=0.03, wspace=0.02)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(len(shown), 3, squeeze=False, width_ratios=(5, 3, 3), sharex="col")
        kernels = list(dict.fromkeys(name for found in shown.values() for name in found[0][1].kernels))
        largest = LEAST
        for row, (label, found) in zip(grid, shown.items(), strict=True):
            name_row(row[0], context, label)
            largest = max(largest, self.ratios(row[0], found, context.looks[label]))
            self.decay(row[1:], found, context.looks[label], kernels)
        self.frame(grid, context, largest, self.reach(shown))
        self.legend(figure, context, kernels)
        return figure

    def ratios(self, axes: Axes, found: Found, look: Look) -> float:
        """R-hat of every kernel: coordinates as a histogram or, if few, as strokes; energy and indicators as marks. Returns the largest."""
        names = list(found[0][1].kernels)
        largest = LEAST
        axes.axvline(MIXED - 1, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
        for place, name in enumerate(names):
            each = [parts(record, record.kernels[name]) for _, record in found if record.kernels[name].lost is None]
            if not each:
                continue
            coordinates = np.concatenate([one[0] for one in each])
            indicators = np.concatenate([one[2] for one in each])
            energies = np.array([one[1] for one in each])
            # Kernels share the row, the primary one on top.
            base, height = 1 - (place + 1) / len(names), 0.92 / len(names)
            if len(each[0][0]) >= FEW:
                edges = np.geomspace(LEAST, 1e3, BINS + 1)
                counts = np.histogram(coordinates, edges)[0]
                axes.stairs(
                    base + 0.8 * height * counts / counts.max(), edges, baseline=base, fill=True, color=look.colour, alpha=0.55, lw=0
                )
            else:
                axes.vlines(coordinates, base, base + 0.8 * height, color=look.colour, linewidth=1.3, alpha=0.9)
            middle = base + 0.38 * height
            axes.plot(indicators, np.full(len(indicators), middle), "o", color=INK, markersize=2.6, fillstyle="none", mew=0.6, zorder=3)
            axes.plot(energies, np.full(len(energies), middle), "D", color=INK, markersize=3.2, mew=0.4, mec="white", zorder=4)
            axes.text(
                0.998,
                base + 0.45 * height,
                in_words(name),
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=6,
                color=MUTED,
            )
            largest = max(largest, float(np.max([*coordinates, *energies, *indicators])))
        for place in range(1, len(names)):
            axes.axhline(1 - place / len(names), color=PALE, linewidth=0.6, zorder=0)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        return largest

    def decay(self, row: Sequence[Axes], found: Found, look: Look, kernels: list[str]) -> None:
        """Autocorrelation of energy and of the slowest coordinate, every seed and kernel, against gradient evaluations."""
        for _, record in found:
            for name, kernel in record.kernels.items():
                if kernel.lost is not None:
                    continue
                lags = np.arange(kernel.about["draws"]) * kernel.about["stride"] * kernel.about["gradients_per_step"]
                for axes, curve in zip(row, kernel.arrays["autocorrelation"], strict=True):
                    kept = lags <= kernel.window / 2
                    axes.plot(lags[kept], curve[kept], color=look.colour, linestyle=STYLES[kernels.index(name) % len(STYLES)], linewidth=1)
        for axes in row:
            axes.axhline(0, color=MUTED, linewidth=0.6, zorder=0)

    def reach(self, shown: Mapping[str, Found]) -> float:
        """The longest lag that is shown."""
        records = [record for found in shown.values() for _, record in found]
        return max(kernel.window for record in records for kernel in record.kernels.values() if kernel.lost is None) / 2

    def frame(self, grid: np.ndarray, context: Context, largest: float, reach: float) -> None:
        """Axes, titles and labels."""
        grid[0, 0].set_title("$\\hat{R}$ of every coordinate, of the energy and of modes or classes", loc="left")
        grid[0, 1].set_title("autocorrelation of the energy", loc="left")
        grid[0, 2].set_title("autocorrelation of the slowest coordinate", loc="left")
        ratios, decays = grid[:, 0], grid[:, 1:]
        for axes in ratios:
            axes.set_xscale("log")
            # Room for the kernels' names on the right.
            axes.set_xlim(LEAST, 8 * max(largest, 0.5))
            axes.xaxis.set_major_locator(FixedLocator(MARKS))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 + value:.6g}"))
        for axes in decays.flat:
            axes.set_xscale("symlog", linthresh=10, linscale=0.7)
            axes.set_xlim(0, reach)
            axes.set_ylim(-0.15, 1.05)
            axes.set_yticks([0, 1])
            axes.xaxis.set_major_locator(FixedLocator([0, 10, *(10**power for power in range(2, 8) if 10**power <= reach)]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        grid[-1, 0].set_xlabel("$\\hat{R}$, logarithmic in $\\hat{R} - 1$")
        for axes in grid[-1, 1:]:
            axes.set_xlabel("lag in gradient evaluations")

    def legend(self, figure: matplotlib.figure.Figure, context: Context, kernels: list[str]) -> None:
        """What marks and lines are."""
        handles: list[Any] = [
            Patch(facecolor=GREY, label="coordinates"),
            Line2D([], [], color=INK, marker="D", markersize=3.5, linestyle="none", label="energy"),
            Line2D([], [], color=INK, marker="o", fillstyle="none", markersize=3, linestyle="none", label="a mode or class"),
            Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)), label=f"$\\hat{{R}} = {MIXED}$"),
            *(
                Line2D([], [], color=GREY, linewidth=1, linestyle=STYLES[i % len(STYLES)], label=in_words(name))
                for i, name in enumerate(kernels)
            ),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), title=context.id, alignment="left", handlelength=2.2)
