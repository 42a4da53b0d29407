"""Samples beside real data."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.densities import true_density
from ebmpipe.report.pictures import grey, mosaic, window
from ebmpipe.report.reading import Run, source_beside
from ebmpipe.report.style import INK, MUTED, balanced, bare, panels, say

POINTS = 1500


class Samples(Figure):
    """What each method draws: pictures as they are, points over the true density."""

    name = "samples"
    title = "Samples"
    caption = "samples.rst"
    category = "Samples"
    kinds = frozenset({"density", "vectors", "images", "binary"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        labels = list(context.groups)
        has_data = any(context.row(label).control == "data" for label in labels)
        panes = [(label, beside) for label in labels for beside in (False, True) if not beside or self.beside(context, label) is not None]
        count = len(panes) + (not has_data)
        images = context.spec.pictured
        most = 4 if images and count <= 8 else 6
        columns = balanced(count, most)
        side = 2.5 if most == 4 else 1.75
        figure, axes = panels(count, columns, side, side + 0.35)
        view = Pictures(context, count) if images else Points(context)
        if not has_data:
            axes[0].set_title("real data")
            view.show(axes[0], context.data["test"], INK)
        for (label, beside), panel in zip(panes, axes[count - len(panes) :], strict=True):
            run = context.first(label)
            if beside:
                assert run is not None
                panel.set_title(self.title_beside(run))
                samples = run.beside
            else:
                context.title(panel, label)
                samples = run.samples if run else None
            if samples is not None:
                view.show(panel, samples, context.looks[label].colour)
            else:
                say(panel, context.loss_of(label) if run is None else f"no samples of\nthe source {run.source}")
        for panel in axes:
            bare(panel)
            panel.set_box_aspect(1)
        made = f": {context.comparison.made}" if context.comparison.made else ""
        figure.supxlabel(f"samples of the source {context.comparison.source}{made}", fontsize=7, color=MUTED)
        context.header(figure)
        return figure

    @staticmethod
    def beside(context: Context, label: str) -> np.ndarray | None:
        """A label's samples of the source that stands beside the declared one, if it has any."""
        run = context.first(label)
        return run.beside if run else None

    @staticmethod
    def title_beside(run: Run) -> str:
        """The label with its source, and what drew it in the words up to the first comma."""
        source = source_beside(run.source)
        return f"{run.label}@{source}\n{(run.made(source) or '').partition(',')[0]}"


class Pictures:
    """Panels of pictures."""

    def __init__(self, context: Context, count: int) -> None:
        self.levels, self.side = context.spec.levels, 8 if count <= 8 else 6

    def show(self, axes: Axes, samples: np.ndarray, colour: str) -> None:
        """The first pictures of ``samples``."""
        axes.imshow(mosaic(grey(samples[: self.side**2], self.levels), self.side), interpolation="nearest")


class Points:
    """Panels of points: over the true density, or over real data along the data's first principal axes.

    Args:
        context: the figure's.
        reach: how far a panel reaches, in units of what shows nearly all data.
        size: of a point.
    """

    def __init__(self, context: Context, reach: float = 1.0, size: float = 2.2) -> None:
        self.size = size
        data = context.data["test"].astype(float)
        self.centre, self.axes = data.mean(0), np.eye(data.shape[1])[:2]
        self.truth = None
        if data.shape[1] > 2:
            self.axes = np.linalg.svd(data - self.centre, full_matrices=False)[2][:2]
        self.data = self.project(data)
        left, right, low, high = window(self.data)
        x, y, half = (left + right) / 2, (low + high) / 2, reach * (right - left) / 2
        self.box = (x - half, x + half, y - half, y + half)
        if context.spec.kind == "density":
            low, high, bottom, top = self.box
            shifted = (low + self.centre[0], high + self.centre[0], bottom + self.centre[1], top + self.centre[1])
            self.truth = true_density(context, shifted)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, d) to (n, 2)."""
        return np.asarray((points - self.centre) @ self.axes.T)

    def show(self, axes: Axes, samples: np.ndarray, colour: str) -> None:
        """The first points of ``samples``."""
        if self.truth is not None:
            axes.imshow(self.truth, origin="lower", extent=self.box, cmap="Greys", vmin=0, vmax=2.6 * self.truth.max(), rasterized=True)
        else:
            axes.plot(*self.data[:POINTS].T, ".", markersize=1.5, color=MUTED, alpha=0.3, rasterized=True)
        axes.plot(
            *self.project(samples[:POINTS].astype(float)).T, ".", markersize=self.size, color=colour, alpha=0.7, mew=0, rasterized=True
        )
        axes.set_xlim(*self.box[:2])
        axes.set_ylim(*self.box[2:])
