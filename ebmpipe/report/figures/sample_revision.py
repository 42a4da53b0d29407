"""A generator's samples along the chains that revise them, and their energy."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.out_of_distribution import mean_of, number
from ebmpipe.report.figures.samples import Points
from ebmpipe.report.long_runs import name_row, step_axis
from ebmpipe.report.pictures import grey, mosaic
from ebmpipe.report.reading import Run
from ebmpipe.report.style import MUTED, Look, bare, say

#: Chains whose pictures are shown.
SHOWN = 4
#: Inches of a row, and of its title and axis.
TALL, HEAD = 1.75, 0.35


class SampleRevision(Figure):
    """For each model that revises its generator's samples: frames, from the generator to far beyond training's steps, and E along them."""

    name = "sample_revision"
    title = "Revision of generated samples"
    caption = "sample_revision.rst"
    category = "Samples"
    kinds = frozenset({"density", "vectors", "images"})
    needs = "revision"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        firsts = {label: context.first(label) for label in context.groups}
        found = {label: run for label, run in firsts.items() if run is not None and "sample_revision/energy" in run.arrays}
        if not found:
            figure = matplotlib.figure.Figure(figsize=(5, 1.2), layout="constrained")
            say(figure.subplots(), "no model that revises samples was evaluated")
            return figure
        wide = TALL
        if context.spec.kind == "images":
            # Mosaics as wide as they are at the height of a row.
            frames = max(len(run.arrays["sample_revision/frame_steps"]) for run in found.values())
            wide = (TALL - HEAD) * frames / SHOWN * context.spec.shape[2] / context.spec.shape[1]
        figure = matplotlib.figure.Figure(figsize=(wide + 4.0, TALL * len(found) + 0.6), layout="constrained")
        grid = figure.subplots(len(found), 2, squeeze=False, width_ratios=(wide, 2.8))
        for (left, right), (label, run) in zip(grid, found.items(), strict=True):
            self.frames(left, run, context)
            name_row(left, context, label)
            self.energies(right, run, context.looks[label])
            change, later = (number(mean_of(context, label, metric), 1) for metric in ("revision_energy_change", "revision_long_change"))
            right.set_title(f"{change} nats in training's steps, {later} beyond", loc="left")
        grid[-1, 1].set_xlabel("steps of the chains")
        note = "frames and curves: the first seed of each; means: over samples and seeds; chains begin at the generator's samples"
        figure.suptitle(f"{context.id} · {note}", x=0.01, ha="left", fontsize=8, color=MUTED)
        return figure

    @staticmethod
    def frames(axes: Axes, run: Run, context: Context) -> None:
        """The same chains at every frame, one column each."""
        frames, steps = run.arrays["sample_revision/frames"].astype(float), run.arrays["sample_revision/frame_steps"].astype(int)
        bare(axes)
        if context.spec.kind == "images":
            columns = frames[:, :SHOWN].swapaxes(0, 1)
            axes.imshow(mosaic(grey(columns.reshape(-1, *frames.shape[2:]), context.spec.levels), len(steps)), interpolation="nearest")
            places = (np.arange(len(steps)) + 0.5) * (frames.shape[-1] + 1) - 1
            axes.set_xticks(places, [f"{step:,}" for step in steps], fontsize=7, color=MUTED)
            axes.tick_params(length=0)
            return
        view, colour = Points(context, size=6), context.looks[run.label].colour
        # Ways in training's steps, and where the same chains are in the end.
        within = frames[steps <= float(run.arrays["sample_revision/training_steps"])]
        view.show(axes, frames[-1], colour)
        for path in within.swapaxes(0, 1):
            axes.plot(*view.project(path).T, color=colour, linewidth=0.8)
            axes.plot(*view.project(path[:1]).T, color=colour, marker="o", markersize=3, markerfacecolor="white", linestyle="none")
        axes.set_box_aspect(1)

    @staticmethod
    def energies(axes: Axes, run: Run, look: Look) -> None:
        """E along the chains: the median and the middle half, with training's number of steps marked."""
        steps, energy = run.arrays["sample_revision/steps"].astype(float), run.arrays["sample_revision/energy"].astype(float)
        low, middle, high = np.quantile(energy, [0.25, 0.5, 0.75], axis=1)
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.2, linewidth=0)
        axes.plot(steps, middle, color=look.colour, linewidth=1.5)
        axes.axvline(float(run.arrays["sample_revision/training_steps"]), color=MUTED, linewidth=0.7, zorder=0)
        step_axis(axes, float(steps[-1]))
        axes.set_ylabel("E (nats)")
