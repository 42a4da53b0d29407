"""What energies tell from their data, and how well."""

from __future__ import annotations

from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.style import INK, MUTED, PALETTE, balanced, bare, say

BINS = 50
PREFIX = "ood_energy_"
#: Scores, by the source of their ids and what the table calls them.
SCORES = {"": "E", "@typicality": "typicality", "@gradient_norm": "∥∇E∥"}
#: Colour of an area below chance.
BELOW = "#B03A00"
#: Inches of a line of the table and of a panel.
LINE, PANEL = 0.2, 1.65
#: Colours of the sets, from which the label's colours stay away: a line style tells them apart as well.
STYLES = ("-", (0, (4, 1.2)), (0, (1.2, 1)), (0, (4, 1.2, 1.2, 1.2)), "-", (0, (4, 1.2)))


class OutOfDistribution(Figure):
    """Histograms of each method's energy on test data and other sets, and a table of how well three scores tell them apart."""

    name = "out_of_distribution"
    title = "Out of distribution"
    caption = "out_of_distribution.rst"
    category = "Energies"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        sets = sets_of(context)
        if not sets:
            figure = matplotlib.figure.Figure(figsize=(5, 1.2), layout="constrained")
            say(figure.subplots(), "no set to tell from the data was measured")
            context.header(figure)
            return figure
        labels = [label for label in context.groups if context.row(label).control != "noise" and has_energy(context, label)]
        columns = balanced(max(len(labels), 1), 4)
        rows = -(-len(labels) // columns)
        of_panels, of_table = rows * PANEL + 0.45, LINE * (len(context.groups) + 3) + 0.2
        figure = matplotlib.figure.Figure(figsize=(10, of_panels + of_table), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[of_panels, of_table])
        upper, lower = parts
        grid = upper.subplots(rows, columns, squeeze=False)
        axes = list(grid.flat)
        for surplus in axes[len(labels) :]:
            surplus.remove()
        for label, panel in zip(labels, axes, strict=False):
            panel.set_title(context.name(label))
            self.panel(panel, context, label, sets)
        handles: list[Patch | Line2D] = [Patch(facecolor="#C8C8C8", edgecolor=INK, label="test data")]
        handles += [Line2D([], [], **look_of(index), label=name) for index, name in enumerate(sets)]
        upper.legend(handles=handles, loc="outside upper right", ncols=len(handles))
        upper.supxlabel("energy in nats less the test data's median, inverse hyperbolic sine scale; first seed", fontsize=8)
        self.table(lower.subplots(), context, sets)
        return figure

    def panel(self, axes: Axes, context: Context, label: str, sets: list[str]) -> None:
        """The histograms of one label's first finished seed: shares of equal bins of the axis."""
        run = context.first(label)
        assert run is not None
        energies = {name: run.arrays[PREFIX + name].astype(float) for name in ("test", *sets) if PREFIX + name in run.arrays}
        shift = float(np.median(energies["test"]))
        width = max(float(np.subtract(*np.quantile(energies["test"], [0.75, 0.25]))), 1e-9)
        squeezed = {name: np.arcsinh((values - shift) / width) for name, values in energies.items()}
        ends = np.concatenate([np.quantile(v[np.isfinite(v)], [0.002, 0.998]) for v in squeezed.values() if np.isfinite(v).any()])
        edges = np.linspace(ends.min() - 0.1, ends.max() + 0.1, BINS + 1)
        axes.set_xscale("asinh", linear_width=width)
        places = (np.sinh(edges) * width).tolist()
        for name, values in squeezed.items():
            share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
            if name == "test":
                axes.stairs(share, places, fill=True, facecolor="#C8C8C8", edgecolor=INK, linewidth=0.6)
            else:
                axes.stairs(share, places, **look_of(sets.index(name)))
        axes.xaxis.set_major_locator(FixedLocator(ticks(edges[0], edges[-1], width)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(places[0], places[-1])
        axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        for index, name in enumerate(name for name in sets if name in energies):
            text = f"{name} {number(mean_of(context, label, f'ood_auroc_{name}'), 3)}"
            axes.text(0.01, 0.99 - 0.115 * index, text, transform=axes.transAxes, va="top", fontsize=6.5, color=look_of(index)["color"])

    def table(self, axes: Axes, context: Context, sets: list[str]) -> None:
        """The area under the ROC curve of every label, set and score, mean over seeds, darker for better."""
        labels = [label for label in context.groups if has_energy(context, label)]
        values = np.array([[mean_of(context, label, f"ood_auroc_{name}{score}") for name in sets for score in SCORES] for label in labels])
        axes.imshow(values, cmap="Blues", vmin=0.5, vmax=1.25, aspect="auto", extent=(0, values.shape[1], len(labels), 0))
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                colour = BELOW if value < 0.5 else INK if np.isfinite(value) else MUTED
                axes.text(j + 0.5, i + 0.5, number(value, 3), ha="center", va="center", fontsize=7, color=colour)
        for index, name in enumerate(sets):
            above: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center", "va": "bottom"}
            axes.annotate(name, ((index + 0.5) * len(SCORES), 1), (0, 17), fontsize=8, color=look_of(index)["color"], **above)
            axes.axvline(index * len(SCORES), color="white", linewidth=4)
        bare(axes)
        axes.set_xticks(np.arange(values.shape[1]) + 0.5, list(SCORES.values()) * len(sets), fontsize=7)
        axes.xaxis.tick_top()
        axes.set_yticks(np.arange(len(labels)) + 0.5, [context.name(label) for label in labels], fontsize=7)
        axes.tick_params(length=0)
        axes.set_xlim(0, values.shape[1])
        axes.set_ylim(len(labels), 0)
        axes.set_xlabel(
            "area under the ROC curve, mean over seeds; 1/2 is chance, below it the set scores as more like the data", fontsize=7.5
        )


def ticks(low: float, high: float, width: float) -> list[float]:
    """Zero and powers of ten in the range sinh(``low``) to sinh(``high``) times ``width``, as far apart as numbers are wide."""
    apart, found = (high - low) / 8, [0.0]
    for power in range(-6, 12):
        for value in (10.0**power, -(10.0**power)):
            place = np.arcsinh(value / width)
            if low < place < high and all(abs(place - np.arcsinh(other / width)) > apart for other in found):
                found.append(value)
    return sorted(found)


def look_of(index: int) -> dict[str, Any]:
    """How the lines of a set are drawn."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": STYLES[index % len(STYLES)], "linewidth": 1.2}


def has_energy(context: Context, label: str) -> bool:
    """Whether there are energies of a label's first finished seed to show."""
    run = context.first(label)
    return run is not None and f"{PREFIX}test" in run.arrays


def sets_of(context: Context) -> list[str]:
    """The sets that any label was measured against, in their order."""
    found = [key for label in context.groups if has_energy(context, label) for key in context.first(label).arrays]  # type: ignore[union-attr]
    return [name for name in dict.fromkeys(key.removeprefix(PREFIX) for key in found if key.startswith(PREFIX)) if name != "test"]


def number(value: float, digits: int) -> str:
    """A number for a panel, – if there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def mean_of(context: Context, label: str, metric: str) -> float:
    """The mean over a label's finished seeds; NaN without any value."""
    values = [value for run in context.groups[label] if not run.diverged and (value := run.value(metric)) is not None]
    return float(np.mean(values)) if values else float("nan")
