"""Likelihood and MMD² of watched runs while they were trained."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.curves import averaged, finite, mark_divergences
from ebmpipe.report.style import INK, balanced, say

#: What the rows of panels show, and by what the columns go.
QUANTITIES = {"log_likelihood": "log-likelihood (nats per example)", "mmd": "MMD² of the chains"}
CLOCKS = {"step": "updates", "gradient_evaluations": "gradient evaluations", "wall_s": "seconds of training"}
#: Share of the values that may lie below the panels: those of the first updates, and of energies that went astray for a moment.
BELOW = 0.03
#: MMD² up to which its axis is linear: what 1,000 samples of the data themselves may have.
NOTHING = 1e-3


class LikelihoodCurves(Figure):
    """Log-likelihood of the weights in training, and MMD² of the chains, against updates, gradient evaluations and seconds."""

    name = "likelihood_curves"
    title = "Likelihood while training"
    caption = "likelihood_curves.rst"
    category = "Training"
    kinds = frozenset({"density"})
    needs = "watch"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        shown = {
            label: [run.history for run in group]
            for label, group in context.groups.items()
            if not context.row(label).control and any(len(finite(run.history, name)) for run in group for name in QUANTITIES)
        }
        names = [name for name in QUANTITIES if any(len(finite(history, name)) for group in shown.values() for history in group)]
        figure = matplotlib.figure.Figure(figsize=(10, 0.7 + 2.4 * max(1, len(names))), layout="constrained")
        if not names:
            say(figure.subplots(), "no run was watched while it was trained: set `watch: true` on the data set")
            return figure
        grid = figure.subplots(len(names), len(CLOCKS), squeeze=False, sharex="col", sharey="row")
        marked = False
        for name, row in zip(names, grid, strict=True):
            self.frame(row, context, name, [history for group in shown.values() for history in group])
            for (clock, title), axes in zip(CLOCKS.items(), row, strict=True):
                for label, histories in shown.items():
                    self.curve(axes, context, label, histories, name, clock)
                    marked |= bool(mark_divergences(axes, context.groups[label], histories, name, context.looks[label], clock))
                if name == names[-1]:
                    axes.set_xlabel(title)
                    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
                axes.margins(x=0)
                axes.set_xlim(left=0)
        self.legend(figure, context, list(shown), marked)
        return figure

    def curve(self, axes: Axes, context: Context, label: str, histories: Sequence[pd.DataFrame], name: str, clock: str) -> None:
        """Mean of a label's seeds and a band of a standard deviation to both sides; seeds whose training diverged as thin lines."""
        look, finished = context.looks[label], []
        for run, history in zip(context.groups[label], histories, strict=True):
            series = finite(history, name, clock)
            if run.training_diverged:
                axes.plot(series.index, series, color=look.colour, linestyle=look.line, linewidth=0.5, alpha=0.7)
            elif len(series):
                finished.append(history)
        if finished:
            found = averaged(finished, name, clock)
            low, high = found["mean"] - found["sd"], found["mean"] + found["sd"]
            if len(finished) > 1:
                axes.fill_between(found["at"], low, high, color=look.colour, alpha=0.18, linewidth=0)
            axes.plot(found["at"], found["mean"], color=look.colour, linestyle=look.line, linewidth=0.9)

    def frame(self, row: Sequence[Axes], context: Context, name: str, histories: Sequence[pd.DataFrame]) -> None:
        """Scale, limits and names of a row of panels."""
        values = np.concatenate([finite(history, name).to_numpy(dtype=float) for history in histories])
        low, high, entropy = float(np.quantile(values, BELOW)), float(values.max()), context.spec.entropy
        row[0].set_ylabel(QUANTITIES[name])
        for axes in row:
            axes.grid(axis="y")
        if name == "mmd":
            row[0].set_yscale("symlog", linthresh=NOTHING)
            row[0].set_ylim(min(0.0, float(values.min())), 1.3 * max(high, NOTHING))
            return
        if entropy is not None:
            high = max(high, -entropy)
            for axes in row:
                axes.axhline(-entropy, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        margin = 0.05 * (high - low) or 1.0
        row[0].set_ylim(low - margin, high + margin)

    def legend(self, figure: matplotlib.figure.Figure, context: Context, labels: list[str], diverged: bool) -> None:
        """Which line is whose."""
        looks = [context.looks[label] for label in labels]
        handles = [Line2D([], [], color=look.colour, linestyle=look.line, label=label) for look, label in zip(looks, labels, strict=True)]
        if context.spec.entropy is not None:
            handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 2)), label="minus the entropy of the data"))
        if diverged:
            handles.append(Line2D([], [], color="black", marker="X", linestyle="none", label="diverged"))
        figure.legend(handles=handles, loc="outside upper center", ncols=balanced(len(handles), 6), handlelength=2.6, title=context.id)
