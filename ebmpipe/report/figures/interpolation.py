"""From sample to sample through latent space, and straight through data space."""

from __future__ import annotations

from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.out_of_distribution import mean_of, number
from ebmpipe.report.figures.samples import Points
from ebmpipe.report.long_runs import name_row
from ebmpipe.report.pictures import grey, mosaic
from ebmpipe.report.reading import Run
from ebmpipe.report.style import INK, MUTED, Look, bare, say

#: Pictures of a way, pairs whose ways are shown as pictures, and pairs whose energies are drawn.
FRAMES, SHOWN, DRAWN = 9, 2, 24
#: How the two ways are drawn.
WAYS: dict[str, Any] = {"latent": "-", "straight": (0, (3, 1.5))}
GREY = "#8A8A8A"
#: Inches of a row.
TALL = 1.75


class Interpolation(Figure):
    """For each model with a latent space: examples on the way, and the energy along it, above the line between its ends."""

    name = "interpolation"
    title = "Interpolation in latent space"
    caption = "interpolation.rst"
    category = "Mixing"
    kinds = frozenset({"density", "vectors", "images"})
    needs = "latent"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        firsts = {label: context.first(label) for label in context.groups}
        found = {label: run for label, run in firsts.items() if run is not None and "interpolation/energy" in run.arrays}
        if not found:
            figure = matplotlib.figure.Figure(figsize=(5, 1.2), layout="constrained")
            say(figure.subplots(), "no model with a latent space has samples")
            return figure
        pictured = context.spec.kind == "images"
        width = 4.6 if pictured else TALL
        figure = matplotlib.figure.Figure(figsize=(width + 4.1, TALL * len(found) + 0.75), layout="constrained")
        grid = figure.subplots(len(found), 2, squeeze=False, width_ratios=(width, 3))
        for (left, right), (label, run) in zip(grid, found.items(), strict=True):
            bare(left)
            if pictured:
                self.pictures(left, run, context.spec.levels)
            else:
                self.paths(left, run, context)
            name_row(left, context, label)
            self.energies(right, run, context.looks[label])
            barriers = (number(mean_of(context, label, f"interpolation_barrier{at}"), 1) for at in ("", "@data_space"))
            right.set_title("barriers: {} nats in latent space, {} straight".format(*barriers), loc="left")
        grid[-1, 1].set_xlabel("time")
        handles = [
            Line2D([], [], color=INK, linestyle=WAYS["latent"], linewidth=1.2, label="through latent space"),
            Line2D([], [], color=GREY, linestyle=WAYS["straight"], linewidth=1.2, label="straight through data space"),
        ]
        note = "first seed of each; barriers: mean over pairs and seeds"
        figure.legend(handles=handles, loc="outside upper left", ncols=2, title=f"{context.id} · {note}", alignment="left")
        return figure

    @staticmethod
    def pictures(axes: Axes, run: Run, levels: int | None) -> None:
        """The first pairs' ways, each through latent space and straight below."""
        rows = []
        for pair in range(SHOWN):
            for way in WAYS:
                x = run.arrays[f"interpolation/{way}"][pair]
                rows.append(x[np.linspace(0, len(x) - 1, FRAMES).round().astype(int)])
        axes.imshow(mosaic(grey(np.concatenate(rows), levels), FRAMES), interpolation="nearest")

    @staticmethod
    def paths(axes: Axes, run: Run, context: Context) -> None:
        """The ways over the true density or, of vectors, over real data."""
        points, colour = Points(context, size=7), context.looks[run.label].colour
        ways = {way: run.arrays[f"interpolation/{way}"].astype(float) for way in WAYS}
        points.show(axes, ways["latent"][:, [0, -1]].reshape(-1, ways["latent"].shape[-1]), colour)
        for way, pairs in ways.items():
            for x in pairs:
                axes.plot(*points.project(x).T, color=colour if way == "latent" else GREY, linestyle=WAYS[way], linewidth=1.1)
        axes.set_box_aspect(1)

    @staticmethod
    def energies(axes: Axes, run: Run, look: Look) -> None:
        """E less the line between its ends along both ways: each pair thinly, and the median."""
        energy = run.arrays["interpolation/energy"].astype(float)
        times = np.linspace(0, 1, energy.shape[2])
        rise = energy - energy[:, :, :1] * (1 - times) - energy[:, :, -1:] * times
        for values, style, colour in zip(rise[::-1], reversed(WAYS.values()), (GREY, look.colour), strict=True):
            axes.plot(times, values[:DRAWN].T, color=colour, linewidth=0.5, alpha=0.35)
            axes.plot(times, np.median(values, axis=0), color=colour, linestyle=style, linewidth=1.6)
        axes.axhline(0, color=MUTED, linewidth=0.6, zorder=0)
        axes.set_xlim(0, 1)
        axes.set_ylabel("E above its ends\n(nats)")
        span = float(np.quantile(np.abs(rise), 0.95))
        axes.set_yscale("symlog", linthresh=max(1.0, 0.05 * span))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
