"""Energy and sample quality along long chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ebmpipe.mixing.record import LongRun
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.figures.diagnostics import number, round_down
from ebmpipe.report.long_runs import Found, empty, name_row, runs_with_chains, step_axis
from ebmpipe.report.style import INK, MUTED, Look

#: Shares of chains, and of test examples, between the edges of a band.
BAND = (0.1, 0.9)
#: Standard deviations of the test energies within which the axis is linear.
LINEAR = 3.0
GREY = "#D5D5D5"
#: The line of chains in latent space.
DASHED: Any = (0, (3, 1.3))


def distance_shown(runs: Mapping[str, Found]) -> str | None:
    """The distance along the chains that is drawn: in features where there is one, else between events; None if there is none."""
    names = [
        key.removeprefix("long_run/") for found in runs.values() for run, _ in found for key in run.arrays if key.startswith("long_run/")
    ]
    plain = [name for name in names if not name.endswith("_stderr")]
    return next((name for name in plain if name != "energy_distance"), next(iter(plain), None))


def courses(record: LongRun) -> list[tuple[str, np.ndarray, Any]]:
    """Of every kernel whose chains were kept, what its arrays begin with, steps, and line: latent ones' in the gradients of the first's."""
    found: list[tuple[str, np.ndarray, Any]] = []
    for place, (name, (steps, _)) in enumerate(record.framed.items()):
        price = record.kernels[name].about["gradients_per_step"] / record.primary.about["gradients_per_step"]
        found.append(("long_run", steps, "-") if place == 0 else (name, steps * price, DASHED))
    return found


class LongRunFigure(Figure):
    """Whether energy and samples hold as chains go on, one label per row."""

    name = "long_run"
    title = "Long runs"
    caption = "long_run.rst"
    category = "Mixing"
    kinds = frozenset({"density", "vectors", "images"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        shown = runs_with_chains(context)
        if not shown:
            return empty()
        figure = matplotlib.figure.Figure(figsize=(10, 0.72 * len(shown) + 1.2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.02, hspace=0.03, wspace=0.03)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(len(shown), 2, squeeze=False, sharex=True, sharey="col")
        distance = distance_shown(shown)
        for (energy, quality), (label, found) in zip(grid, shown.items(), strict=True):
            name_row(energy, context, label)
            self.energies(energy, found, context.looks[label])
            if distance is not None:
                self.qualities(quality, found, distance, context.looks[label])
        self.frame(grid, shown, distance)
        primary = next(iter(shown.values()))[0][1].primary.about["name"]
        figure.supxlabel(f"{context.id} · steps of {primary} from over-dispersed starts", fontsize=8)
        self.legend(figure, any(len(record.framed) > 1 for found in shown.values() for _, record in found))
        return figure

    def energies(self, axes: Axes, found: Found, look: Look) -> None:
        """Energy of the chains in standard deviations of the test data's, from their mean."""
        for run, record in found:
            if "energy_data" not in run.arrays:
                continue
            data = run.arrays["energy_data"].astype(np.float64)
            centre, spread = data.mean(), data.std() or 1.0
            axes.axhspan(*np.quantile((data - centre) / spread, BAND), color=GREY, linewidth=0, zorder=0)
            arrays = record.primary.arrays
            values = (arrays["energy"].astype(np.float64) - centre) / spread
            low, high = np.quantile(values, BAND, axis=1)
            axes.fill_between(arrays["energy_steps"], low, high, color=look.colour, alpha=0.2, linewidth=0)
            axes.plot(arrays["energy_steps"], values.mean(axis=1), color=look.colour, linewidth=1.1)
        axes.axhline(0, color=INK, linewidth=0.6, zorder=1)

    def qualities(self, axes: Axes, found: Found, distance: str, look: Look) -> None:
        """A distance to the test split at every frame with two standard errors, and where it is least."""
        for run, record in found:
            for start, steps, line in courses(record):
                values = run.arrays.get(f"{start}/{distance}")
                if values is None:
                    continue
                errors = run.arrays[f"{start}/{distance}_stderr"]
                axes.fill_between(steps, values - 2 * errors, values + 2 * errors, color=look.colour, alpha=0.2, linewidth=0)
                axes.plot(steps, values, color=look.colour, linewidth=1.1, linestyle=line, marker=".", markersize=3.5)
                best = int(values.argmin())
                axes.plot(steps[best], values[best], "o", color=look.colour, markersize=6, fillstyle="none", mew=1, zorder=4, clip_on=False)
        axes.axhline(0, color=INK, linewidth=0.6, zorder=1)

    def frame(self, grid: np.ndarray, shown: Mapping[str, Found], distance: str | None) -> None:
        """Axes and titles."""
        records = [record for found in shown.values() for _, record in found]
        last = max(float(record.frame_steps[-1]) for record in records)
        grid[0, 0].set_title("energy less that of test data, in standard deviations of theirs", loc="left")
        grid[0, 1].set_title(f"{distance} to the test split" if distance else "no distance to the test split", loc="left")
        for axes in grid.flat:
            step_axis(axes, last)
        highest = max(axes.get_ylim()[1] for axes in grid[:, 0])
        lowest = min(-LINEAR, *(float(axes.dataLim.y0) for axes in grid[:, 0]))
        ends: list[float] = [10**power for power in range(1, 7) if 10**power <= highest]
        for axes in grid[:, 0]:
            axes.set_yscale("symlog", linthresh=LINEAR, linscale=1.2)
            axes.set_ylim(lowest, highest)
            axes.yaxis.set_major_locator(FixedLocator([-2, 0, 2, *ends[:: max(1, len(ends) // 2)]]))
        if distance is not None:
            self.scale_distances(list(grid[:, 1]), shown, distance)
        for axes in grid.flat:
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))

    def scale_distances(self, axes: list[Axes], shown: Mapping[str, Found], distance: str) -> None:
        """One scale for every distance: linear where they are not told from 0, logarithmic beyond."""
        lines = [(run, f"{start}/{distance}") for found in shown.values() for run, record in found for start, *_ in courses(record)]
        kept = [(run.arrays[key], run.arrays[f"{key}_stderr"]) for run, key in lines if key in run.arrays]
        values, errors = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        linear = round_down(2 * float(np.median([each[-1] for _, each in kept])))
        lowest = min(-linear, float((values - 2 * errors).min()))
        highest = 1.3 * float((values + 2 * errors).max())
        decades = [10.0**power for power in range(-8, 9) if 2 * linear < 10.0**power <= highest]
        marks = [0.0, *decades[:: max(1, -(-len(decades) // 3))]]
        for panel in axes:
            panel.set_yscale("symlog", linthresh=linear, linscale=1.0)
            panel.set_ylim(lowest, highest)
            panel.yaxis.set_major_locator(FixedLocator(marks))

    def legend(self, figure: matplotlib.figure.Figure, latent: bool) -> None:
        """What bands, marks and, where there are ``latent`` chains, lines are."""
        share = f"{BAND[1] - BAND[0]:.0%}"
        handles: list[Any] = [
            Patch(facecolor=GREY, label=f"{share} of test examples"),
            Patch(facecolor=MUTED, alpha=0.35, label=f"{share} of chains; two standard errors"),
            Line2D([], [], color=MUTED, label="mean over chains; distance"),
            Line2D([], [], color=MUTED, marker="o", fillstyle="none", linestyle="none", label="best frame"),
            *[Line2D([], [], color=MUTED, linestyle=DASHED, label="in latent space, at as many gradients")] * latent,
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
