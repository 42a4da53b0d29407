"""Model densities beside the true one."""

from __future__ import annotations

from math import ceil

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe import registry
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.pictures import Box, show, show_grid, window
from ebmpipe.report.style import balanced, bare, panels, say

POINTS = 240


def true_density(context: Context, box: Box) -> np.ndarray:
    """The data's density on a grid over ``box``, (ny, nx)."""
    x, y = (low + (np.arange(POINTS) + 0.5) / POINTS * (high - low) for low, high in (box[:2], box[2:]))
    log_density = registry.load("data", context.id)().log_density(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    return np.asarray(np.exp(log_density).reshape(POINTS, POINTS))


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

    def panel(self, axes: Axes, context: Context, label: str, box: Box, highest: float) -> None:
        """One method's density, of its first finished seed."""
        context.title(axes, label)
        run = context.first(label)
        if run is None:
            say(axes, context.loss_of(label))
        elif "log_density" not in run.arrays:
            say(axes, "no density")
        else:
            show_grid(axes, run.arrays, box, highest)
