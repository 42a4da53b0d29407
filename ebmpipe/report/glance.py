"""One run at a glance: its data, its model and its training on one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe.files import atomic
from ebmpipe.history import CLOCK
from ebmpipe.report.curves import curve, curves_of, frame, mark_divergences, title_of
from ebmpipe.report.pictures import grey, mosaic, show_grid, window
from ebmpipe.report.reading import Run
from ebmpipe.report.style import CONTROLS, DPI, INK, MUTED, PALETTE, Look, applied, bare, say
from ebmpipe.spec import DataSpec

#: Points of a scatter, and pictures per side of a mosaic.
POINTS, SIDE = 3000, 8
#: Most panels of training curves.
CURVES = 4


@dataclass(frozen=True)
class Glance:
    """All that the picture shows.

    Attributes:
        run: the run on disk; its history gives the curves.
        spec: the data set.
        data: held-out examples (n, *event) as models see them.
        method: what the method is called.
        grid: ``grid_x`` (nx,), ``grid_y`` (ny,), ``log_density`` (ny, nx) of a model on the plane; empty if there is none.
        samples: the model's samples (n, *event); None if there are none.
        made: how the samples came about, in a few words.
        missing: why there is neither, as a sentence.
        lost: why training broke down; None if it did not.
        summary: the closing line: what the run cost and how good it is.
    """

    run: Run
    spec: DataSpec
    data: np.ndarray
    method: str
    grid: Mapping[str, np.ndarray] = field(default_factory=dict)
    samples: np.ndarray | None = None
    made: str = ""
    missing: str = ""
    lost: str | None = None
    summary: str = ""


def picture(glance: Glance) -> matplotlib.figure.Figure:
    """Held-out data, the model beside them, and up to four training curves."""
    histories = [curves_of(glance.run)]
    names = [str(name) for name in histories[0] if name not in CLOCK and histories[0][name].notna().any()]
    first = [name for name in ("loss", "energy_gap", "gradient_norm", "acceptance") if name in names]
    names = (first + [name for name in names if name not in first])[:CURVES]
    rows, columns = (2, 2) if len(names) > 2 else (max(1, len(names)), 1)
    figure = matplotlib.figure.Figure(figsize=(9.6 if columns == 2 else 8.2, 3.2), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(5.6, 4.0 if columns == 2 else 2.6))[0]
    seen, model = left.subplots(1, 2)
    look = CONTROLS.get(glance.run.config["method"], Look(PALETTE[0], "o"))
    show_data(seen, glance)
    show_model(model, glance, look)
    panes: list[Axes] = list(right.subplots(rows, columns, squeeze=False).flat)
    for surplus in panes[max(1, len(names)) :]:
        surplus.remove()
    if not names:
        say(panes[0], "nothing is trained:\na control" if glance.run.control else "no update was finished")
    for name, pane in zip(names, panes, strict=False):
        pane.grid(axis="y")
        if not glance.run.training_diverged:
            pane.plot(histories[0]["gradient_evaluations"], histories[0][name], color=look.colour, linewidth=0.6, alpha=0.25)
        curve(pane, [glance.run], histories, name, look, band=False)
        frame(pane, name, title_of(name), histories)
        pane.set_xlim(left=0)
        mark_divergences(pane, [glance.run], histories, name, look)
    if names:
        right.supxlabel("gradient evaluations", fontsize=8)
    figure.suptitle(f"{glance.spec.name} · {glance.method} · {glance.summary}", x=0.01, ha="left", fontsize=8, color=MUTED)
    return figure


def show_data(axes: Axes, glance: Glance) -> None:
    """Held-out examples."""
    axes.set_title("held-out data")
    show_examples(axes, glance, glance.data, INK)


def show_model(axes: Axes, glance: Glance, look: Look) -> None:
    """The model's density, or its samples, or why there is neither."""
    axes.set_title("model")
    if glance.lost is not None:
        axes.set_title("model: none, training diverged")
        say(axes, f"diverged after update {glance.run.ledger['step']:,}:\n{glance.lost}")
    elif glance.grid:
        axes.set_title("density of the model")
        box = window(glance.data)
        show_grid(axes, glance.grid, box, highest_of(glance.grid))
        bare(axes)
    elif glance.samples is not None:
        axes.set_title(glance.made)
        show_examples(axes, glance, glance.samples, look.colour)
    else:
        say(axes, glance.missing)
    axes.set_box_aspect(1)


def highest_of(grid: Mapping[str, np.ndarray]) -> float:
    """The top of the colour scale: what all but a thousandth of the mass lies below, so that one narrow peak does not darken the rest."""
    density = np.sort(np.exp(grid["log_density"]), axis=None)
    mass = np.cumsum(density)
    return float(density[np.searchsorted(mass, 0.999 * mass[-1])])


def show_examples(axes: Axes, glance: Glance, examples: np.ndarray, colour: str) -> None:
    """Pictures as they are; points on the plane, or along the first two principal axes of the data."""
    bare(axes)
    axes.set_box_aspect(1)
    if glance.spec.pictured:
        axes.imshow(mosaic(grey(examples[: SIDE**2], glance.spec.levels), SIDE), interpolation="nearest")
        return
    centre, directions = glance.data.mean(0), np.eye(glance.data.shape[1])[:2]
    if glance.spec.dimension > 2:
        directions = np.linalg.svd(glance.data - centre, full_matrices=False)[2][:2]
    box = window(centre[:2] + (glance.data - centre) @ directions.T)
    points = centre[:2] + (examples[:POINTS] - centre) @ directions.T
    axes.plot(*points.T, ".", markersize=1.6, color=colour, alpha=0.6, markeredgewidth=0, rasterized=True)
    axes.set_xlim(*box[:2])
    axes.set_ylim(*box[2:])


def draw(glance: Glance, path: Path) -> None:
    """Draw ``glance`` and write it as PNG, whole or not at all."""
    with applied():
        figure = picture(glance)
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
