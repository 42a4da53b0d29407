"""Test images with noise, or a part missing, and what energies make of them."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.out_of_distribution import mean_of, number
from ebmpipe.report.pictures import grey, mosaic
from ebmpipe.report.style import MUTED, bare, say

TASKS = ("denoising", "inpainting")
#: Source and name of what does without a model.
BASELINES = {"denoising": ("observed", "as observed"), "inpainting": ("mean_example", "mean training image")}
#: Inches of a column, of the names beside its pictures, and of what stands above them.
WIDE, NAMES, HEAD = 4.9, 0.55, 0.25
#: Colour of what is missing: no grey, so that it is no part of the picture.
MISSING = (0.55, 0.68, 0.85)


class Restoration(Figure):
    """Images, what was observed of them, and per method one draw given that and the mean of all draws."""

    name = "restoration"
    title = "Denoising and inpainting"
    caption = "restoration.rst"
    category = "Samples"
    kinds = frozenset({"images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        labels = [label for label in context.groups if any(shown(context, label, task) is not None for task in TASKS)]
        tasks = [task for task in TASKS if any(shown(context, label, task) is not None for label in labels)]
        if not labels:
            figure = matplotlib.figure.Figure(figsize=(5, 1.2), layout="constrained")
            say(figure.subplots(), "no method has an energy that restored anything")
            context.header(figure)
            return figure
        any_of = {task: next(found for label in labels if (found := shown(context, label, task)) is not None) for task in tasks}
        count, _, height, width = next(iter(any_of.values()))["clean"].shape
        tall = 2 * (WIDE - NAMES) / count * height / width + HEAD
        figure = matplotlib.figure.Figure(figsize=(WIDE * len(tasks), (1 + len(labels)) * tall + 0.3), layout="constrained")
        grid = figure.subplots(1 + len(labels), len(tasks), squeeze=False)
        for column, task in enumerate(tasks):
            found = any_of[task]
            without = mean_of(context, labels[0], f"{task}_psnr@{BASELINES[task][0]}")
            grid[0, column].set_title(f"{task}; {BASELINES[task][1]}: {number(without, 1)} dB")
            sheet(grid[0, column], context, (found["clean"], found["observed"]), ("image", "observed"))
            for row, label in enumerate(labels, start=1):
                panel, of_label = grid[row, column], shown(context, label, task)
                if of_label is None:
                    panel.set_title(context.name(label))
                    say(panel, "not available")
                    continue
                draw, mean = (mean_of(context, label, f"{task}_psnr{source}") for source in ("@sample", ""))
                panel.set_title(f"{context.name(label)}: one draw {number(draw, 1)} dB, mean {number(mean, 1)} dB")
                sheet(panel, context, (of_label["sample"], of_label["mean"]), ("draw", "mean"))
        note = "peak signal-to-noise ratio, mean over test images and seeds; images of the first seed"
        figure.suptitle(f"{context.id} · {note}", x=0.01, ha="left", fontsize=8, color=MUTED)
        return figure


def shown(context: Context, label: str, task: str) -> dict[str, np.ndarray] | None:
    """What the first finished seed of a label left of a task: ``clean``, ``observed``, ``sample``, ``mean``; None if nothing."""
    run = context.first(label)
    if run is None or f"{task}_mean" not in run.arrays:
        return None
    return {name: run.arrays[f"{task}_{name}"] for name in ("clean", "observed", "sample", "mean")}


def sheet(axes: Axes, context: Context, rows: tuple[np.ndarray, ...], names: tuple[str, ...]) -> None:
    """Rows of images (n, c, h, w) in model space under each other, each named at the left."""
    n, _, height, _ = rows[0].shape
    picture = mosaic(grey(np.concatenate(rows), context.spec.levels), n)
    picture[np.isnan(picture).any(axis=-1)] = MISSING
    axes.imshow(picture, interpolation="nearest")
    bare(axes)
    axes.set_yticks([height / 2 - 0.5 + index * (height + 1) for index in range(len(rows))], names, fontsize=7, color=MUTED)
    axes.tick_params(length=0)
