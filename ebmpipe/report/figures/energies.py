"""Energies of data, samples and noise."""

from __future__ import annotations

from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.style import INK, MUTED, balanced, panels, say

BINS = 60


class Energies(Figure):
    """Where a method's energy puts test data, its samples of the declared source, and noise."""

    name = "energies"
    title = "Energies"
    caption = "energies.rst"
    category = "Energies"
    kinds = frozenset({"density", "vectors", "images", "binary"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        labels = [label for label in context.groups if not context.row(label).control]
        columns = balanced(len(labels), 4)
        figure, axes = panels(max(1, len(labels)), columns, 10 / columns if columns > 2 else 4, 1.75)
        if not labels:
            say(axes[0], "no method to show")
        for label, panel in zip(labels, axes, strict=False):
            context.title(panel, label)
            run = context.first(label)
            if run is None:
                say(panel, context.loss_of(label))
            elif "energy_data" not in run.arrays:
                say(panel, "no energy")
            else:
                self.panel(panel, run.arrays, context.looks[label].colour)
        handles = [
            Patch(facecolor="#C8C8C8", edgecolor=INK, label="test data"),
            Patch(facecolor="none", edgecolor="#0072B2", linewidth=1.5, label="samples (the label's colour)"),
            Patch(facecolor="none", edgecolor=MUTED, hatch="////", linewidth=0, label="noise"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=3)
        figure.supxlabel("energy in nats, zero at the test data's median", fontsize=8)
        context.header(figure)
        return figure

    def panel(self, axes: Axes, arrays: dict[str, np.ndarray], colour: str) -> None:
        """Three histograms; noise that lies far off is only pointed at."""
        data = arrays["energy_data"]
        shift = float(np.median(data))
        parts = {key: arrays[f"energy_{key}"] - shift for key in ("data", "samples", "noise") if len(arrays.get(f"energy_{key}", ()))}
        inner = np.concatenate([parts[key] for key in ("data", "samples") if key in parts])
        low, high = np.quantile(inner, [0.002, 0.998])
        width = max(float(high - low), 1e-9)
        if "noise" in parts:
            noise_low, noise_high = np.quantile(parts["noise"], [0.01, 0.9])
            reach = 1.5 if noise_low < high + 1.5 * width else 0.4
            low, high = max(min(low, noise_low), low - width), min(max(high, noise_high), high + reach * width)
        edges = np.linspace(low - 0.03 * width, high + 0.03 * width, BINS + 1)
        looks: dict[str, dict[str, Any]] = {
            "data": {"histtype": "stepfilled", "facecolor": "#C8C8C8", "edgecolor": INK, "linewidth": 0.6},
            "noise": {"histtype": "stepfilled", "facecolor": "none", "edgecolor": MUTED, "hatch": "//////", "linewidth": 0.5},
            "samples": {"histtype": "step", "color": colour, "linewidth": 1.5},
        }
        for key in ("data", "noise", "samples"):
            if key in parts:
                counts = np.histogram(parts[key], edges)[0] / len(parts[key]) / (edges[1] - edges[0])
                axes.hist(edges[:-1], edges.tolist(), weights=counts, **looks[key])
        beyond = float((parts["noise"] > edges[-1]).mean()) if "noise" in parts else 0.0
        if beyond > 0.2:
            axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
            text = f"{beyond:.0%} of noise beyond, median {np.median(parts['noise']):.3g} \u2192"
            axes.text(1.0, 0.99, text, transform=axes.transAxes, ha="right", va="top", fontsize=6.5, color=MUTED)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
