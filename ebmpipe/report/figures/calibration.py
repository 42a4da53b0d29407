"""How often classifiers are right, against how sure they are."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ebmpipe.metrics.estimators.calibration import BINS, reliability
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.reading import Run
from ebmpipe.report.style import INK, MUTED, PALE, say
from ebmpipe.seeding import numpy_generator

#: Calibrated classifiers behind the range in which 95 % of them lie.
DRAWS = 2_000
#: Suffix of the arrays -> what the classifier saw.
VIEWS = {"": "test images", "_smoothed": "test images with the model's noise"}
#: Area of the dot of a bin that holds every example, and of one that holds hardly any, in points².
LARGEST, SMALLEST = 160.0, 6.0


def chance(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per bin, the range that holds 95 % of the accuracies of classifiers that are as often right as they say (Bröcker & Smith 2007)."""
    rng = numpy_generator(0, "figures", "calibration")
    drawn = [reliability(confidence, rng.random(len(confidence)) < confidence).accuracy for _ in range(DRAWS)]
    filled = ~np.isnan(drawn[0])
    low, high = np.full(BINS, np.nan), np.full(BINS, np.nan)
    low[filled], high[filled] = np.quantile(np.array(drawn)[:, filled], [0.025, 0.975], axis=0)
    return low, high


class Calibration(Figure):
    """Reliability diagrams (DeGroot & Fienberg 1983) of the labels that train a classifier, over histograms of their confidence."""

    name = "calibration"
    title = "Calibration of classifiers"
    caption = "calibration.rst"
    category = "Classifiers"
    kinds = frozenset({"images"})
    needs = "classifier"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        found = {label: run for label in context.groups if (run := context.first(label)) and "confidence" in run.arrays}
        panes = [(label, view) for label, run in found.items() for view in VIEWS if f"confidence{view}" in run.arrays]
        figure = matplotlib.figure.Figure(
            figsize=(max(1, min(len(panes), 4)) * 2.9, -(-max(1, len(panes)) // 4) * 4.1 + 0.3), layout="constrained"
        )
        if not panes:
            say(figure.subplots(), "no label that finished here trains a classifier:\nset cross_entropy in its settings")
            return figure
        columns = min(len(panes), 4)
        rows = -(-len(panes) // columns)
        grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [3, 1] * rows})
        for index in range(rows * columns):
            upper, lower = (grid[2 * (index // columns) + part][index % columns] for part in (0, 1))
            if index >= len(panes):
                upper.remove()
                lower.remove()
                continue
            label, view = panes[index]
            self.panel(upper, lower, found[label], view, context.looks[label].colour)
            upper.set_title("\n".join(filter(None, (context.name(label), VIEWS[view], self.numbers(found[label], view)))))
            if index % columns == 0:
                upper.set_ylabel("share that is right")
                lower.set_ylabel("examples")
        handles = [
            Line2D([], [], color=MUTED, linestyle="none", marker="o", label="a bin; area: its share of the examples"),
            Patch(facecolor=PALE, edgecolor="none", label="95 % of calibrated classifiers"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
        figure.supxlabel(f"probability of the class that was chosen, {BINS} bins · {context.id}, first seed", fontsize=8)
        return figure

    @staticmethod
    def numbers(run: Run, view: str) -> str:
        """What the metrics say of a view, in a line."""
        source = "@smoothed" if view else ""
        names = ("accuracy", "calibration_error", "calibration_error_by_chance")
        accuracy, error, by_chance = (run.value(f"{name}{source}") for name in names)
        if accuracy is None or error is None or by_chance is None:
            return ""
        return f"right {100 * accuracy:.1f} %, error {error:.3f} (by chance {by_chance:.3f})"

    def panel(self, upper: Axes, lower: Axes, run: Run, view: str, colour: str) -> None:
        """One reliability diagram, and the histogram below it."""
        arrays: Mapping[str, np.ndarray] = run.arrays
        confidence, correct = arrays[f"confidence{view}"].astype(float), arrays[f"correct{view}"] > 0.5
        bins = reliability(confidence, correct)
        filled = bins.share > 0
        edges = np.arange(BINS + 1) / BINS
        low, high = chance(confidence)
        upper.bar(edges[:-1], high - low, 1 / BINS, bottom=low, align="edge", color=PALE, zorder=1)
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=(0, (4, 2)), zorder=2)
        x, y = bins.confidence[filled], bins.accuracy[filled]
        upper.vlines(x, x, y, color=colour, linewidth=1, zorder=3)
        area = SMALLEST + (LARGEST - SMALLEST) * bins.share[filled]
        upper.scatter(x, y, s=area, color=colour, edgecolor="white", linewidth=0.5, zorder=4, clip_on=False)
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        lower.hist(confidence, edges.tolist(), color=colour, alpha=0.35, label="all")
        lower.hist(confidence[~correct], edges.tolist(), color=INK, label="wrong")
        lower.set_yscale("symlog", linthresh=1)
        lower.set_yticks([0, 1, 10, 100, *([1000] if len(confidence) > 1000 else [])])
        lower.set_yticklabels(["0", "1", "10", "100", *(["1000"] if len(confidence) > 1000 else [])])
        lower.set_ylim(bottom=0)
