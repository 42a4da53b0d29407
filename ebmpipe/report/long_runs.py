"""What figures of long runs share: whose runs have one, in which rows, and the axis of their steps."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ebmpipe.mixing.record import LongRun
from ebmpipe.report.base import Context
from ebmpipe.report.reading import Run
from ebmpipe.report.style import INK, panels, say

#: Runs of a label, each with its record.
Found = Sequence[tuple[Run, LongRun]]
#: Why a figure is empty.
NOTHING = "no run has chains that can be shown: no run has an energy,\nor `evaluation.metrics` leaves out mixing and long_run"


def runs_with_chains(context: Context) -> dict[str, Found]:
    """By label, in the order of the summary, the finished runs that have a long run with any chains; labels without one are left out."""
    found: dict[str, Found] = {}
    for label, group in context.groups.items():
        records = [(run, run.long_run) for run in group if not run.diverged]
        if kept := [(run, record) for run, record in records if record is not None and len(record.frames)]:
            found[label] = kept
    return found


def empty() -> matplotlib.figure.Figure:
    """The figure where there is nothing to show."""
    figure, axes = panels(1, 1, 5, 1.2)
    say(axes[0], NOTHING)
    return figure


def name_row(axes: Axes, context: Context, label: str, more: str = "") -> None:
    """Write a label's name to the left of its row, and what else there is to say of it below."""
    text = context.name(label).replace(" (", "\n(") + (f"\n{more}" if more else "")
    axes.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=5, color=INK, fontsize=8)


def step_axis(axes: Axes, last: float) -> None:
    """A logarithmic axis of steps from 0 to ``last``; 0 stands one decade below 1, as far as 1 does from 10."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.set_xlim(0, last)
    marks = [0, *(10**power for power in range(10) if 10**power < last)]
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
