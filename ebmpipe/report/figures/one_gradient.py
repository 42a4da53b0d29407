"""One gradient, many names: how the methods' losses become each other, what score matching does not see, and what contractions are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from ebmpipe.report.base import Context, Figure
from ebmpipe.report.style import INK, MARKERS, MUTED, PALE, PALETTE, plain_log
from ebmpipe.report.theorems import Proved, proved

#: The event shape whose errors have marks; those of other shapes are thin lines.
SHOWN = "1x2x2"
#: Times that have a tangent, and its length in time.
TOUCHED, LENGTH = (0.0, 0.2, 0.5), 0.15
#: Where panels name the curves of flows: from the curve at this time, by so many points.
NAMED = ((0.74, (0, 9)), (0.36, (-26, -38)))


def shapes(theorem: Proved, kind: str) -> list[str]:
    """The event shapes that a kind of error was measured at."""
    return [key.removeprefix(f"{kind}_") for key in theorem.arrays if key.rpartition("_")[0] == kind]


def decades(axis: Axis) -> None:
    """A mark at every power of ten, or every few, and none between."""
    axis.set_major_locator(LogLocator(numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def triangle(axes: Axes, order: int, x: float, y: float, factor: float = 2.0) -> None:
    """A right triangle above a line of slope ``order`` from its lower left corner at (``x``, ``y``), with its slope."""
    top = y * factor**order
    axes.fill([x, x, x * factor], [y, top, top], facecolor=PALE, edgecolor=MUTED, linewidth=0.6, zorder=1)
    axes.text(x * 0.94, (y * top) ** 0.5, f"slope {order}", fontsize=7, color=INK, va="center", ha="right")


def head(axes: Axes, letter: str, text: str) -> None:
    """The title of a panel."""
    axes.set_title(rf"$\mathbf{{{letter}}}$   {text}", loc="left")


class OneGradient(Figure):
    """Errors of limits, the fall of divergences in time, the blindness to weights, and the excess of losses as contraction of KL."""

    name = "one_gradient"
    title = "One gradient, many names"
    caption = "one_gradient.rst"
    category = "Theorems"
    kinds = frozenset()
    needs = "theorems"

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        found = proved(context.results)

        def of(panel: str) -> list[Proved]:
            return [theorem for theorem in found.values() if theorem.panel == panel]

        figure = matplotlib.figure.Figure(figsize=(7.4, 9.3), layout="constrained")
        (limits, remainders), (flows, blindness), (rule, contractions) = figure.subplots(3, 2)
        head(limits, "a", "losses of a small step become score matching")
        self.errors(limits, of("limits"), 2)
        limits.set_ylabel("normalised error of the gradient in the weights")
        head(remainders, "b", "shifted-data NCE becomes sliced score matching")
        self.errors(remainders, of("remainders"), 4)
        remainders.set_ylabel("normalised remainder")
        head(flows, "c", r"KL falls with slope $-D_F$ or $-2D_F$")
        self.flows(flows, of("flows"))
        head(blindness, "d", "what score matching does not see")
        for theorem in of("blindness"):
            self.blindness(blindness, theorem)
        head(rule, "e", "f(E(x′) − E(x)): score matching iff f″(0) = −½f′(0)")
        self.errors(rule, of("rule"), 2)
        rule.set_ylabel("normalised error of the gradient in the weights")
        head(contractions, "f", "KL that an operator takes; marks: excess of a loss")
        self.contractions(contractions, of("contractions"))
        for theorem in of("short"):
            self.short(contractions.inset_axes((0.15, 0.35, 0.36, 0.24)), theorem)
        return figure

    @staticmethod
    def errors(axes: Axes, theorems: Iterable[Proved], order: int) -> None:
        """Errors against the step, with their fitted slopes."""
        steps, falling, place = np.ones(1), [], 0
        for theorem in theorems:
            steps = theorem.arrays["steps"]
            for kind, name in theorem.legend.items():
                colour, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
                slope = theorem.numbers[f"slope_{kind}_{SHOWN}"]
                # What a theorem has beside its first curve may lie on it.
                look: dict[str, Any] = {"markersize": 4.5} if kind == next(iter(theorem.legend)) else {"markersize": 3, "mfc": "white"}
                for shape in shapes(theorem, kind):
                    errors = theorem.arrays[f"{kind}_{shape}"]
                    if slope > order / 2:
                        falling.append(errors)
                    if shape == SHOWN:
                        text = f"{abs(slope):.2f}   {name}"
                        axes.plot(steps, errors, color=colour, marker=marker, linewidth=1, label=text, zorder=3, **look)
                    else:
                        axes.plot(steps, errors, color=colour, linewidth=0.5, alpha=0.7, zorder=2)
                place += 1
        axes.set_xscale("log")
        axes.set_yscale("log")
        if falling:
            highest, lowest = np.max(falling, axis=0), np.min(falling)
            corner = len(steps) // 2 + 1
            triangle(axes, order, float(steps[corner]), (1 + 0.6 * order) * float(highest[corner]))
            # Room for the names below the lines.
            axes.set_ylim(bottom=lowest * (lowest / np.max(falling)) ** 0.42)
        plain_log(axes.xaxis, float(steps.min()), float(steps.max()))
        axes.xaxis.set_minor_locator(NullLocator())
        decades(axes.yaxis)
        axes.set_xlabel("step ε (data units)")
        axes.legend(
            loc="lower right", title="fitted slope", title_fontsize=7, fontsize=7, alignment="left", labelspacing=0.35, handlelength=1.6
        )

    @staticmethod
    def flows(axes: Axes, theorems: list[Proved]) -> None:
        """KL in time with tangents whose slopes are multiples of D_F, and the ratio of the two."""
        inset = axes.inset_axes((0.58, 0.6, 0.41, 0.31))
        for place, (theorem, (named, offset)) in enumerate(zip(theorems, NAMED, strict=False)):
            colour, factor = PALETTE[place], theorem.numbers["factor"]
            times, kl = theorem.arrays["times"], theorem.arrays["kl_mixtures"]
            axes.plot(times, kl, color=colour)
            for time in TOUCHED:
                at = int(np.abs(times - time).argmin())
                along = np.array([0.0 if at == 0 else -LENGTH / 2, LENGTH / 2])
                slope = -factor * theorem.arrays["fisher_mixtures"][at]
                axes.plot(times[at] + along, kl[at] + slope * along, color=INK, linewidth=0.9, zorder=4)
                axes.plot(times[at], kl[at], MARKERS[place], color=colour, markersize=3.5, zorder=5)
            at = int(np.abs(times - named).argmin())
            axes.annotate(theorem.title, (times[at], kl[at]), offset, textcoords="offset points", color=colour, fontsize=7.5)
            inset.plot(times, -theorem.arrays["rate_mixtures"] / theorem.arrays["fisher_mixtures"], color=colour, linewidth=1)
            gaussian = -theorem.arrays["rate_gaussians"] / theorem.arrays["fisher_gaussians"]
            inset.plot(times[::10], gaussian[::10], MARKERS[place], color=colour, markersize=3.5, fillstyle="none")
        axes.set_xlabel("time t")
        axes.set_ylabel("KL divergence (nats)")
        axes.set_ylim(bottom=0)
        inset.set_ylim(0.6, 2.4)
        inset.set_yticks([1, 2])
        inset.grid(axis="y")
        inset.set_title(r"$-(\mathrm{d}\,\mathrm{KL}/\mathrm{d}t)\,/\,D_F$", fontsize=7.5)

    @staticmethod
    def blindness(axes: Axes, theorem: Proved) -> None:
        """Both divergences against the distance of the modes."""
        places, numbers = theorem.arrays["places"][1:], theorem.numbers  # at distance zero the two are one law
        weighted = numbers["noise"] ** 2 * theorem.arrays["fisher_noisy"]
        curves = (
            ("KL", theorem.arrays["kl"], f"{numbers['kl_at_8']:.3f}", 4),
            (rf"$\sigma^2 D_F$ after noise, $\sigma$ = {numbers['noise']:g}", weighted, "", 0),
            (r"$D_F$", theorem.arrays["fisher"], rf"${numbers['fisher_at_8']:.0e}".replace("e-", r"\cdot 10^{-") + "}$", -2),
        )
        for place, (name, values, text, above) in enumerate(curves):
            axes.plot(places, values[1:], color=PALETTE[place], label=name)
            axes.annotate(
                text, (places[-1], values[-1]), (-2, above), textcoords="offset points", fontsize=7.5, color=PALETTE[place],
                ha="right", va="bottom" if above > 0 else "top",
            )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(1e-15, 20)
        decades(axes.yaxis)
        axes.set_xlabel("m: modes at ±m, of unit variance")
        axes.set_ylabel(f"divergence, weight {numbers['data_weight']:g} from {numbers['model_weight']:g}")
        axes.legend(loc="lower left")

    @staticmethod
    def contractions(axes: Axes, theorems: list[Proved]) -> None:
        """Contractions of KL on states as lines, the excess of losses as marks, along a line of models."""
        place = 0
        for theorem in theorems:
            places = theorem.arrays["places"]
            for kind, name in theorem.legend.items():
                colour, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
                axes.plot(places, theorem.arrays[f"{kind}_{SHOWN}"], color=colour, linewidth=1)
                # Kinds of which the curves are the same have their marks in turn.
                marks = slice(2 * (place % 2), None, 4)
                excess = theorem.arrays[f"{kind}_excess_{SHOWN}"]
                axes.plot(places[marks], excess[marks], marker, color=colour, markersize=4, label=name)
                place += 1
        for theorem in theorems[:1]:
            axes.plot(theorem.arrays["places"], theorem.arrays[f"kl_{SHOWN}"], color=MUTED, linewidth=2.5, alpha=0.4, label="KL", zorder=1)
        axes.set_xlabel("model, from the data's energy to another")
        axes.set_ylabel("nats")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", fontsize=7, labelspacing=0.3, handlelength=1.4)

    @staticmethod
    def short(axes: Axes, theorem: Proved) -> None:
        """Errors of contractions by a short flow, per time, against the Fisher divergence."""
        times = theorem.arrays["times"]
        for place, (flow, name) in enumerate(theorem.legend.items()):
            colour, gaussians = PALETTE[place], theorem.arrays[f"{flow}_gaussians"]
            axes.plot(times, theorem.arrays[f"{flow}_mixtures"], color=colour, linewidth=1, label=name)
            axes.plot(times[::3], gaussians[::3], MARKERS[place], color=colour, markersize=3, fillstyle="none")
        axes.set_xscale("log")
        axes.set_yscale("log")
        decades(axes.xaxis)
        decades(axes.yaxis)
        axes.set_title(r"error of $\Delta\mathrm{KL}/t$ at short $t$", fontsize=7.5)
        axes.legend(loc="upper left", fontsize=6, labelspacing=0.1, handlelength=1.0, borderaxespad=0.0)
