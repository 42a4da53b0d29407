"""Test examples as generators give them back, and the ways between their latent vectors."""

from __future__ import annotations

from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.out_of_distribution import mean_of, number
from ebmpipe.report.figures.restoration import sheet
from ebmpipe.report.figures.samples import Points
from ebmpipe.report.long_runs import name_row, step_axis
from ebmpipe.report.pictures import grey, mosaic
from ebmpipe.report.reading import Run
from ebmpipe.report.style import INK, MUTED, Look, bare, say

#: Names and line styles of where chains of latent vectors begin, in the order of the profile's rows.
STARTS: Any = (("from the prior", (0, (3, 1.5))), ("from the inference model", "-"))
#: Inches of a row.
TALL = 1.55


class Reconstruction(Figure):
    """For each model with a generator: examples and what became of them, ways between codes, and the error along the posterior's chains."""

    name = "reconstruction"
    title = "Reconstruction from inferred latent vectors"
    caption = "reconstruction.rst"
    category = "Samples"
    kinds = frozenset({"density", "vectors", "images"})
    needs = "generator"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        firsts = {label: context.first(label) for label in context.groups}
        found = {label: run for label, run in firsts.items() if run is not None and "reconstruction/profile" in run.arrays}
        if not found:
            figure = matplotlib.figure.Figure(figsize=(5, 1.2), layout="constrained")
            say(figure.subplots(), "no model with a generator was evaluated")
            return figure
        pictured = context.spec.kind == "images"
        widths = (4.6, 2.2, 2.6) if pictured else (TALL, TALL, 3.2)
        figure = matplotlib.figure.Figure(figsize=(sum(widths) + 1.2, TALL * len(found) + 0.75), layout="constrained")
        grid = figure.subplots(len(found), 3, squeeze=False, width_ratios=widths)
        for (left, middle, right), (label, run) in zip(grid, found.items(), strict=True):
            if pictured:
                self.pictures(left, middle, run, context)
            else:
                self.points(left, middle, run, context)
            name_row(left, context, label)
            self.errors(right, run, context.looks[label])
            revised, inferred = (number(mean_of(context, label, f"reconstruction_mse{at}"), 4) for at in ("", "@inferred"))
            right.set_title(f"MSE {inferred} inferred, {revised} revised", loc="left")
        grid[0, 0].set_title("test examples", loc="left")
        grid[0, 1].set_title("between two codes", loc="left")
        grid[-1, 2].set_xlabel("steps of the posterior's chains")
        handles = [Line2D([], [], color=INK, linestyle=style, linewidth=1.2, label=name) for name, style in STARTS]
        note = "pictures and curves: the first seed of each; MSE: mean over examples and seeds"
        figure.legend(handles=handles, loc="outside upper left", ncols=2, title=f"{context.id} · {note}", alignment="left")
        return figure

    @staticmethod
    def pictures(left: Axes, middle: Axes, run: Run, context: Context) -> None:
        """Images, what the inference model alone and what its chains make of them; and images between two codes."""
        names = [name for name in ("clean", "inferred", "revised") if f"reconstruction/{name}" in run.arrays]
        sheet(left, context, tuple(run.arrays[f"reconstruction/{name}"] for name in names), tuple(names))
        between = run.arrays["reconstruction/between"]
        bare(middle)
        middle.imshow(mosaic(grey(np.concatenate(list(between)), context.spec.levels), between.shape[1]), interpolation="nearest")

    @staticmethod
    def points(left: Axes, middle: Axes, run: Run, context: Context) -> None:
        """Points joined with what became of them; and the ways between codes."""
        view, colour = Points(context, size=5), context.looks[run.label].colour
        clean, revised = (view.project(run.arrays[f"reconstruction/{name}"].astype(float)) for name in ("clean", "revised"))
        view.show(left, run.arrays["reconstruction/clean"].astype(float), colour)
        left.plot(*np.stack([clean, revised]).transpose(2, 0, 1), color=colour, linewidth=0.9)
        ways = run.arrays["reconstruction/between"].astype(float)
        view.show(middle, ways[:, [0, -1]].reshape(-1, ways.shape[-1]), colour)
        for way in ways:
            middle.plot(*view.project(way).T, color=colour, linewidth=1.0)
        for axes in (left, middle):
            bare(axes)
            axes.set_box_aspect(1)

    @staticmethod
    def errors(axes: Axes, run: Run, look: Look) -> None:
        """Mean squared error after so many steps of the posterior's chains, from either start; training's number is marked."""
        steps, training = run.arrays["reconstruction/steps"], float(run.arrays["reconstruction/training_steps"])
        for values, (_, style) in zip(run.arrays["reconstruction/profile"], STARTS, strict=False):
            axes.plot(steps, values, color=look.colour, linestyle=style, linewidth=1.4)
        step_axis(axes, float(steps[-1]))
        axes.axvline(training, color=MUTED, linewidth=0.7, zorder=0)
        axes.set_yscale("log")
        axes.set_ylabel("MSE")
