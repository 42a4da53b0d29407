"""log Z from both sides, and what else is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.reading import Run
from ebmpipe.report.style import INK, MUTED, PALE, say

#: How each estimate is drawn: marker, face, how far above the seed's line, what it is.
LOOKS: dict[str, tuple[str, str, float, str]] = {
    "forward": (">", "full", 0.27, "annealed importance sampling, forward"),
    "backward": ("<", "none", 0.09, "backward (hollow: from samples that are not exact, so that it is no bound)"),
    "smc": ("s", "full", -0.09, "sequential Monte Carlo"),
    "importance": ("D", "full", -0.27, "importance sampling"),
}
#: Inches of a seed's line; standard errors that a bar is long; the least half-width of the axis, in nats.
LINE, ERRORS, LEAST = 0.32, 2.0, 0.02


@dataclass(frozen=True)
class Known:
    """What one run knows of its log Z.

    Attributes:
        label, seed: which run.
        reference: quadrature, else the forward estimate.
        estimates: by name: value less the reference, standard error, whether exact samples make it a bound.
    """

    label: str
    seed: int
    reference: float
    estimates: dict[str, tuple[float, float, bool]]


def known_of(run: Run) -> Known | None:
    """What a run's metrics say of log Z; None if nothing."""
    rows = {row["metric"]: row for row in run.rows if row["value"] is not None}
    found = {name: rows[f"log_z@{name}"] for name in LOOKS if f"log_z@{name}" in rows}
    if "forward" not in found:
        return None
    reference = float(rows.get("log_z", found["forward"])["value"])
    return Known(
        run.label,
        run.seed,
        reference,
        {name: (row["value"] - reference, row["stderr"] or 0.0, row["unit"] == "nats") for name, row in found.items()},
    )


class Partition(Figure):
    """How far log Z of every model can be trusted: estimates and their errors, run by run."""

    name = "partition"
    title = "log Z from both sides"
    caption = "partition.rst"
    category = "Likelihood"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        runs = [run for label in context.groups for run in context.groups[label] if not run.diverged]
        known = [found for run in runs if (found := known_of(run)) is not None]
        figure = matplotlib.figure.Figure(figsize=(7.5, 1.4 + LINE * max(2, len(known))), layout="constrained")
        axes = figure.add_subplot()
        if not known:
            say(axes, "no run has estimates of log Z: `evaluation.metrics` leaves annealing out, or no run has an energy")
            return figure
        exact = context.spec.kind == "density"
        reach = self.reach(known)
        axes.axvline(0, color=INK, linewidth=0.8)
        if exact:
            axes.axvspan(-LEAST, LEAST, color=PALE, linewidth=0, zorder=0)
        for place, found in enumerate(known):
            self.line(axes, place, found, context.looks[found.label].colour, reach)
        self.names(axes, known)
        axes.set_xlim(-reach, reach)
        axes.grid(axis="x")
        zero = "log Z by quadrature" if exact else "the forward estimate"
        axes.set_xlabel(f"estimate of log Z less {zero} (nats)" + f"; grey: within {LEAST:g}" * exact)
        handles = [
            Line2D([], [], color=INK, marker=marker, fillstyle=face, linestyle="none", markersize=4, label=text)  # type: ignore[arg-type]
            for marker, face, _, text in LOOKS.values()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, title=context.id, alignment="left")
        return figure

    def reach(self, known: list[Known]) -> float:
        """Half of what the axis shows: all that annealing found, and of importance sampling what lies there."""
        ends = [
            abs(value) + ERRORS * error for found in known for name, (value, error, _) in found.estimates.items() if name != "importance"
        ]
        return 1.08 * max(float(np.max(ends)), 1.5 * LEAST)

    def line(self, axes: Axes, place: int, found: Known, colour: str, reach: float) -> None:
        """The estimates of one run; what lies beyond the axis is said at its edge."""
        for name, (value, error, bound) in found.estimates.items():
            marker, _, above, _ = LOOKS[name]
            full = "none" if name == "backward" and not bound else "full"
            if abs(value) > reach:
                options: dict[str, Any] = {"ha": "left", "x": -reach} if value < 0 else {"ha": "right", "x": reach}
                text = f" \u2190 importance {value:+.2g}" if value < 0 else f"importance {value:+.2g} \u2192 "
                axes.text(y=place - above, s=text, va="center", fontsize=6, color=MUTED, **options)
                continue
            axes.errorbar(
                value, place - above, xerr=ERRORS * error, fmt=marker, color=colour, markersize=3.5, fillstyle=full, elinewidth=0.8,
                markeredgewidth=0.8,
            )  # fmt: skip

    def names(self, axes: Axes, known: list[Known]) -> None:
        """Label and seed of every line, and its log Z at the right."""
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set_yticks(range(len(known)), [f"{found.label} · {found.seed}" for found in known])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        for place, found in enumerate(known):
            axes.text(1.01, place, f"{found.reference:.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=INK)
            if place and found.label != known[place - 1].label:
                axes.axhline(place - 0.5, color=PALE, linewidth=0.6, zorder=0)
        axes.text(1.01, 1.0, "log Z", transform=axes.transAxes, va="bottom", fontsize=7, color=MUTED)
