"""The chains of long runs themselves, frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe.mixing.record import KernelRun, LongRun
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.mixing import in_words
from ebmpipe.report.figures.samples import Points
from ebmpipe.report.long_runs import empty, name_row, runs_with_chains
from ebmpipe.report.pictures import grey, mosaic
from ebmpipe.report.style import bare

#: Pictures per side of a frame.
SIDE = 3
#: Inches of a frame of pictures, and of one of points.
PICTURES, POINTS = 1.0, 0.82
#: How far frames of points reach, in units of what shows nearly all data: starts are far wider.
REACH = 1.5


class FilmStrip(Figure):
    """The same chains at every frame, one label per row: samples appear, and stay or decay."""

    name = "film_strip"
    title = "Film strip of long runs"
    caption = "film_strip.rst"
    category = "Mixing"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        shown = [strip for label, found in runs_with_chains(context).items() for strip in strips_of(label, found[0][1])]
        if not shown:
            return empty()
        steps = sorted({step for strip in shown if strip.primary for step in strip.frames})
        columns = len(steps)
        images = context.spec.kind == "images"
        side = PICTURES if images else POINTS
        figure = matplotlib.figure.Figure(figsize=(side * columns + 1.1, side * len(shown) + 0.75), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.035, h_pad=0.035, hspace=0.0, wspace=0.0)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(len(shown), columns, squeeze=False)
        view: View = Mosaics(context) if images else Scatter(context)
        for row, strip in zip(grid, shown, strict=True):
            # Chains that were lost have no frame from then on; those of a shorter run end, and that is all.
            lost = next((step for step in steps if step > max(strip.frames)), None) if strip.kernel.lost is not None else None
            for step, axes in zip(steps, row, strict=True):
                bare(axes)
                axes.set_box_aspect(1)
                if step in strip.frames:
                    view.show(axes, strip.frames[step], context.looks[strip.label].colour)
                elif step == lost:
                    axes.text(0.5, 0.5, "diverged", transform=axes.transAxes, ha="center", va="center", fontsize=7)
            # Kernels that pay more for a step end after fewer; where they end is shown where the others do.
            if not strip.primary and strip.kernel.lost is None and (last := max(strip.frames)) not in steps:
                view.show(row[-1], strip.frames[last], context.looks[strip.label].colour)
                row[-1].set_title(f"{last:,}")
            name_row(row[0], context, strip.label, "" if strip.primary else in_words(str(strip.kernel.about["name"])))
        for axes, step in zip(grid[0], steps, strict=True):
            axes.set_title(f"step {step:,}" if step == 0 else f"{step:,}")
        longest = max((found[0][1] for found in runs_with_chains(context).values()), key=lambda record: len(record.frame_steps))
        about = longest.primary.about
        jump = ", each frame with a denoising jump" if longest.settings["denoise"] else ""
        figure.supxlabel(
            f"{context.id} · chains of {about['name']} from over-dispersed starts, the first seed of each label{jump}", fontsize=8
        )
        return figure


@dataclass(frozen=True)
class Strip:
    """One row.

    Attributes:
        label: whose chains they are.
        kernel: what moved them.
        frames: the chains by step, each (chains, *event).
        primary: whether it is the kernel whose steps the columns are.
    """

    label: str
    kernel: KernelRun
    frames: Mapping[int, np.ndarray]
    primary: bool = True


def strips_of(label: str, record: LongRun) -> list[Strip]:
    """The chains of the primary kernel, and those of every kernel in latent space."""
    return [
        Strip(label, record.kernels[name], dict(zip(map(int, steps), frames, strict=True)), primary=place == 0)
        for place, (name, (steps, frames)) in enumerate(record.framed.items())
        if len(frames)
    ]


class View(ABC):
    """How a frame is shown."""

    @abstractmethod
    def show(self, axes: Axes, chains: np.ndarray, colour: str) -> None:
        """Draw chains (n, *event)."""


class Mosaics(View):
    """The first chains as pictures."""

    def __init__(self, context: Context) -> None:
        self.levels = context.spec.levels

    def show(self, axes: Axes, chains: np.ndarray, colour: str) -> None:
        axes.imshow(mosaic(grey(chains[: SIDE**2], self.levels), SIDE), interpolation="nearest")


class Scatter(View):
    """All chains as points over the true density or, of vectors, over real data along their first principal axes."""

    def __init__(self, context: Context) -> None:
        self.points = Points(context, REACH, 2.6)

    def show(self, axes: Axes, chains: np.ndarray, colour: str) -> None:
        self.points.show(axes, chains, colour)
