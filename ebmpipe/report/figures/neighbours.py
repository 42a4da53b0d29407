"""Samples above their nearest neighbours in the training set."""

from __future__ import annotations

import matplotlib.figure
import numpy as np

from ebmpipe.metrics.nearest_neighbours import neighbours
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.pictures import Shades, grey, mosaic
from ebmpipe.report.style import balanced, bare, panels, say

PAIRS = 10


class Neighbours(Figure):
    """Whether the samples are training images."""

    name = "neighbours"
    title = "Nearest training images"
    caption = "neighbours.rst"
    category = "Samples"
    kinds = frozenset({"images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        labels = list(context.groups)
        levels = context.spec.levels
        train = Shades(context.data["train"], levels)
        shown = {label: run.samples[:PAIRS] for label in labels if (run := context.first(label)) and run.samples is not None}
        found = np.zeros(0, dtype=int)
        if shown:
            found = neighbours(grey(np.concatenate(list(shown.values())), levels), train, k=1)[:, 0]
        columns = balanced(len(labels), 2 if len(labels) <= 12 else 3)
        figure, axes = panels(len(labels), columns, 4.6 if columns < 3 else 3.4, 1.12 if columns < 3 else 0.88)
        for label, panel in zip(labels, axes, strict=True):
            panel.set_title(f"{context.name(label)}  {context.result(label)}", loc="left")
            if label not in shown:
                say(panel, context.loss_of(label) if context.first(label) is None else "no samples")
                continue
            own, found = found[: len(shown[label])], found[len(shown[label]) :]
            pairs = np.concatenate([grey(shown[label], levels), train[own]])
            panel.imshow(mosaic(pairs, len(own)), interpolation="nearest")
            bare(panel)
            height = pairs.shape[2]
            for row, text in enumerate(("sample", "nearest")):
                panel.text(-1, height / 2 + row * (height + 1), text, ha="right", va="center", fontsize=6.5)
        context.header(figure)
        return figure
