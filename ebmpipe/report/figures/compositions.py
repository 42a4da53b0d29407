"""Two laws made into one, beside what it would be of the true densities."""

from __future__ import annotations

import textwrap

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe.report.base import PANEL_LINE, Context, Figure
from ebmpipe.report.compositions import Composed, collected
from ebmpipe.report.numbers import significant
from ebmpipe.report.pictures import Box, show
from ebmpipe.report.reading import MissingResult
from ebmpipe.report.style import bare, panels, say

#: Chains shown, and what each column is.
POINTS = 1500
COLUMNS = ("first", "second", "truth", "composed", "samples")
SIGNS = {"product": "×", "mixture": "or", "difference": "÷"}
#: Share of the mass that the frame may leave out.
BEYOND = 0.001


def frame_of(x: np.ndarray, y: np.ndarray, densities: list[np.ndarray]) -> Box:
    """The square about the middle of the grid that holds nearly all mass of every density (ny, nx)."""
    centre = ((x[0] + x[-1]) / 2, (y[0] + y[-1]) / 2)
    distance = np.maximum(np.abs(x - centre[0])[None, :], np.abs(y - centre[1])[:, None])
    reach = 0.0
    for density in densities:
        order = np.argsort(distance.ravel())
        mass = density.ravel()[order].cumsum()
        reach = max(reach, float(distance.ravel()[order][np.searchsorted(mass, (1 - BEYOND) * mass[-1])]))
    reach = min(1.08 * reach, float(x[-1] - centre[0]))
    return centre[0] - reach, centre[0] + reach, centre[1] - reach, centre[1] + reach


class Compositions(Figure):
    """A row for each composition: both laws, the true composition, the learned one, and chains on the true one."""

    name = "compositions"
    title = "Compositions of two energies"
    caption = "compositions.rst"
    category = "Compositions"
    kinds = frozenset()
    needs = "compositions"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        try:
            found = collected(context.results)
        except MissingResult:
            found = {}
        figure, axes = panels(max(1, len(found)) * len(COLUMNS), len(COLUMNS), 2.1, 2.45)
        for panel in axes:
            bare(panel)
            panel.set_box_aspect(1)
            panel.set_visible(bool(found) or panel is axes[0])
        for row, (name, seeds) in enumerate(found.items()):
            self.row(axes[row * len(COLUMNS) : (row + 1) * len(COLUMNS)], name, seeds)
        if not found:
            say(axes[0], "no composition to show:\nname some under compositions\nin the config")
        figure.supxlabel(
            "densities and chains of the first seed, each panel on a colour scale of its own · numbers: means over seeds", fontsize=7
        )
        return figure

    def row(self, axes: list[Axes], name: str, seeds: list[Composed]) -> None:
        """The panels of one composition."""
        one = next((composed for composed in seeds if composed.ledger["status"] == "finished"), None)
        if one is None:
            ledger = seeds[0].ledger
            said = ledger["reason"] if ledger["status"] == "diverged" else ledger["status"]
            say(axes[0], textwrap.fill(str(said), PANEL_LINE))
            axes[0].set_title(name)
            for panel in axes[1:]:
                panel.set_visible(False)
            return
        arrays, (first, second), weight = one.arrays, one.config["of"], one.config["weight"]
        x, y = arrays["grid_x"], arrays["grid_y"]
        densities = {key.removeprefix("log_density_"): np.exp(value) for key, value in arrays.items() if key.startswith("log_density_")}
        box = frame_of(x, y, list(densities.values()))
        by = one.config["by"]
        power = f"^{weight:g}" if by != "mixture" and weight != 1 else ""
        shares = (f"{1 - weight:g} ", f"{weight:g} ") if by == "mixture" else ("", "")
        titles = {"first": f"{shares[0]}{first}", "second": f"{SIGNS[by]} {shares[1]}{second}{power}"}
        titles |= {"truth": f"{by}\nof the true densities", "composed": self.numbers(seeds)}
        axes[0].set_ylabel(name)
        for panel, key in zip(axes, COLUMNS, strict=True):
            if key == "samples":
                self.chains(panel, densities["truth"], one.samples["fresh"], (x, y), seeds)
            elif key in densities:
                self.density(panel, densities[key], (x, y))
                panel.set_title(titles[key])
            else:
                say(panel, "no law:\nits integral does not converge")
            panel.set_xlim(*box[:2])
            panel.set_ylim(*box[2:])

    @staticmethod
    def density(axes: Axes, density: np.ndarray, grid: tuple[np.ndarray, np.ndarray]) -> None:
        """A density on its own scale."""
        x, y = grid
        dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
        show(axes, density, (x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy), float(density.max()))

    @staticmethod
    def chains(axes: Axes, truth: np.ndarray, samples: np.ndarray, grid: tuple[np.ndarray, np.ndarray], seeds: list[Composed]) -> None:
        """Chains of the composed energy over the true composition."""
        x, y = grid
        extent = (x[0], x[-1], y[0], y[-1])
        axes.imshow(truth, origin="lower", extent=extent, cmap="Greys", vmin=0, vmax=2.6 * truth.max(), rasterized=True)
        axes.plot(*samples[:POINTS].T, ".", markersize=2.2, color="#0072B2", alpha=0.7, mew=0, rasterized=True)
        found = [value for seed in seeds if (value := seed.value("mmd")) is not None]
        control = [value for seed in seeds if (value := seed.value("mmd@truth")) is not None]
        numbers = [f"{1e3 * np.mean(values):.1f}" for values in (found, control) if values]
        beside = f" (true: {numbers[1]})" if len(numbers) > 1 else ""
        axes.set_title(f"chains of it\n10³ MMD² {numbers[0]}{beside}" if numbers else "chains of it")

    @staticmethod
    def numbers(seeds: list[Composed]) -> str:
        """What a composition's density is called, and how far it is from the true one."""
        gaps = [value for seed in seeds if (value := seed.value("nll_gap")) is not None]
        return f"{seeds[0].config['by']} of the learned energies" + (
            f"\nKL {significant(float(np.mean(gaps))).plain()} nats" if gaps else ""
        )
