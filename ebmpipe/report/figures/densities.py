"""Model densities beside the true one."""

from __future__ import annotations

from math import ceil
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe import registry
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.style import balanced, bare, panels, say

POINTS = 240


def window(points: np.ndarray) -> tuple[float, float, float, float]:
    """The square that shows nearly all ``points`` (n, 2): left, right, bottom, top."""
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    centre, half = (low + high) / 2, 0.56 * float((high - low).max())
    return float(centre[0] - half), float(centre[0] + half), float(centre[1] - half), float(centre[1] + half)


def true_density(context: Context, box: tuple[float, float, float, float]) -> np.ndarray:
    """The data's density on a grid over ``box``, (ny, nx)."""
    x, y = (low + (np.arange(POINTS) + 0.5) / POINTS * (high - low) for low, high in (box[:2], box[2:]))
    log_density = registry.load("data", context.id)().log_density(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    return np.asarray(np.exp(log_density).reshape(POINTS, POINTS))


def show(axes: Axes, density: np.ndarray, extent: tuple[float, float, float, float], highest: float) -> Any:
    """Draw a density."""
    return axes.imshow(density, origin="lower", extent=extent, vmin=0, vmax=highest, interpolation="bilinear", rasterized=True)


class Densities(Figure):
    """The true density and each method's, on one colour scale."""

    name = "densities"
    title = "Densities"
    caption = "densities.rst"
    category = "Densities"
    kinds = frozenset({"density"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        labels = [label for label in context.groups if not context.row(label).control]
        box = window(context.data["test"])
        truth = true_density(context, box)
        highest = float(np.quantile(truth, 0.999))
        columns = balanced(1 + len(labels), 6)
        figure, axes = panels(1 + len(labels), columns, 1.75, 2.1)
        image = show(axes[0], truth, box, highest)
        axes[0].set_title("true density")
        for label, panel in zip(labels, axes[1:], strict=True):
            self.panel(panel, context, label, box, highest)
        for panel in axes:
            bare(panel)
            panel.set_box_aspect(1)
        bar = figure.colorbar(image, ax=axes, extend="max", aspect=22, pad=0.01, shrink=0.9 / ceil(len(axes) / columns), label="density")
        bar.outline.set_visible(False)
        context.header(figure)
        return figure

    def panel(self, axes: Axes, context: Context, label: str, box: tuple[float, float, float, float], highest: float) -> None:
        """One method's density, of its first finished seed."""
        context.title(axes, label)
        run = context.first(label)
        if run is None:
            say(axes, context.loss_of(label))
        elif "log_density" not in run.arrays:
            say(axes, "no density")
        else:
            x, y = run.arrays["grid_x"], run.arrays["grid_y"]
            dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
            show(axes, np.exp(run.arrays["log_density"]), (x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy), highest)
            axes.set_facecolor("#440154")
            axes.set_xlim(*box[:2])
            axes.set_ylim(*box[2:])
