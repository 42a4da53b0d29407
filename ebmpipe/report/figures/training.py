"""Training curves."""

from __future__ import annotations

import textwrap
from collections import Counter

import matplotlib.figure
from matplotlib.lines import Line2D

from ebmpipe.history import CLOCK
from ebmpipe.report.base import Context, Figure
from ebmpipe.report.curves import curve, curves_of, finite, frame, mark_divergences, title_of
from ebmpipe.report.reading import Run
from ebmpipe.report.style import balanced, panels, say

SHARED_PANELS = 9
#: Characters of a line of text per inch.
LINE = 15


class Training(Figure):
    """How training went, against its cost."""

    name = "training"
    title = "Training curves"
    caption = "training.rst"
    category = "Training"
    kinds = frozenset({"density", "vectors", "images", "binary"})

    def draw(self, context: Context) -> matplotlib.figure.Figure:
        histories = {label: [curves_of(run) for run in group] for label, group in context.groups.items() if not context.row(label).control}
        counts = Counter(
            column
            for group in histories.values()
            for column in dict.fromkeys(str(column) for history in group for column in history if history[column].notna().any())
            if column not in CLOCK
        )
        first = [name for name in ("energy_gap", "gradient_norm") if name in counts]
        others = sorted((name for name in counts if name not in (*first, "loss")), key=lambda name: (-counts[name], name))
        shared = (first + others)[:SHARED_PANELS]
        with_loss = [label for label, group in histories.items() if any(len(finite(history, "loss")) for history in group)]
        panes = [("shared", name) for name in shared] + [("loss", label) for label in with_loss]
        ends = [float(history["gradient_evaluations"].max()) for group in histories.values() for history in group if len(history)]
        columns = balanced(len(panes), 4 if len(panes) > 6 else 3)
        figure, axes = panels(max(1, len(panes)), columns, 10 / columns if columns > 2 else 4, 1.8)
        if not panes:
            say(axes[0], "no training history")
        marked: set[Run] = set()
        for (pane, name), panel in zip(panes, axes, strict=False):
            panel.grid(axis="y")
            chosen = [name] if pane == "loss" else list(histories)
            key = "loss" if pane == "loss" else name
            for label in chosen:
                curve(panel, context.groups[label], histories[label], key, context.looks[label], len(chosen) <= 6)
            title = f"loss · {name}" if pane == "loss" else title_of(name)
            frame(panel, key, title, [history for label in chosen for history in histories[label]])
            panel.set_xlim(0, max(ends))
            for label in chosen:
                marked |= mark_divergences(panel, context.groups[label], histories[label], key, context.looks[label])
        self.legend(figure, context, list(histories), bool(marked))
        lost = [textwrap.fill(line, int(LINE * figure.get_figwidth())) for line in self.unmarked(context, list(histories), marked)]
        figure.supxlabel("\n".join([f"{context.id} · gradient evaluations", *lost]), fontsize=8)
        return figure

    def legend(self, figure: matplotlib.figure.Figure, context: Context, labels: list[str], diverged: bool) -> None:
        """Which line is whose."""
        handles = [Line2D([], [], color=context.looks[label].colour, linestyle=context.looks[label].line, label=label) for label in labels]
        if diverged:
            handles.append(Line2D([], [], color="black", marker="X", linestyle="none", label="diverged"))
        most = max(1, int(figure.get_figwidth() / (0.7 + 0.07 * max((len(label) for label in labels), default=0))))
        if handles:
            figure.legend(handles=handles, loc="outside upper center", ncols=balanced(len(handles), most), handlelength=2.6)

    def unmarked(self, context: Context, labels: list[str], marked: set[Run]) -> list[str]:
        """A line per step at which training diverged before there was anything to draw: whose, and of how many seeds."""
        found: dict[int, list[str]] = {}
        for label in labels:
            group = context.groups[label]
            steps = Counter(int(run.ledger["step"]) for run in group if run.training_diverged and run not in marked)
            for step, lost in steps.items():
                found.setdefault(step, []).append(f"{label} ({lost}/{len(group)} seeds)")
        return [f"\N{HEAVY MULTIPLICATION X} diverged at step {step:,}, no curve: {', '.join(found[step])}" for step in sorted(found)]
