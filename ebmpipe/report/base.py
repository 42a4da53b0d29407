"""The contract of a figure, and what a figure may look at."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from ebmpipe import registry
from ebmpipe.data.prepared import Prepared
from ebmpipe.report import ranking, style
from ebmpipe.report.frames import compute_frame, metrics_frame, read_tables
from ebmpipe.report.reading import CONTROLS, Run, Runs, check_runs, runs_of
from ebmpipe.spec import DataSpec, Kind

FIGURES = "report.figures"
#: Characters of a line in a panel that says why it is empty.
PANEL_LINE = 30


@dataclass(frozen=True)
class Context:
    """What a figure may look at.

    Attributes:
        results: folder of everything the workflow made.
        dataset: the data set of the figure, None for a figure of all.
        runs: {dataset: {label: [seeds]}}; a figure of one data set needs that one only.
        labels: the methods' labels in the order that gives them their colours, the same in every figure of the workflow; labels that the
            figure does not show hold their place. Controls have no place in it. None: the methods of ``runs``, in their order.
    """

    results: Path
    dataset: str | None
    runs: Runs
    labels: Sequence[str] | None = None

    @cached_property
    def groups(self) -> dict[str, list[Run]]:
        """The data set's runs by label: data first, then from best to worst, noise last."""
        found = self.unsorted
        return {row.label: found[row.label] for row in self.comparison.rows}

    @cached_property
    def unsorted(self) -> dict[str, list[Run]]:
        """The data set's runs by label, in the order of the config."""
        if self.id not in self.runs:
            raise ValueError(f"runs must name the labels and seeds of {self.id}, not only of {', '.join(self.runs) or 'nothing'}")
        return runs_of(self.results, self.id, self.runs[self.id])

    @property
    def id(self) -> str:
        """The data set of a figure that has one."""
        if self.dataset is None:
            raise ValueError("this figure is about one data set: say which")
        return self.dataset

    @cached_property
    def comparison(self) -> ranking.Comparison:
        """Who did best on the data set, from its runs alone."""
        runs = [run for group in self.unsorted.values() for run in group]
        return ranking.compare(metrics_frame(runs), compute_frame(runs))[0]

    @cached_property
    def comparisons(self) -> list[ranking.Comparison]:
        """Who did best on every data set, from the tables."""
        return ranking.compare(*read_tables(self.results))

    @property
    def methods(self) -> list[str]:
        """The labels of ``runs`` that are no controls."""
        found = [item for dataset, labels in self.runs.items() for item in runs_of(self.results, dataset, labels).items()]
        return list(dict.fromkeys(label for label, group in found if group and not group[0].control))

    @cached_property
    def looks(self) -> dict[str, style.Look]:
        """How each label is drawn, in every figure of the workflow."""
        rows = [row for each in (self.comparisons if self.dataset is None else [self.comparison]) for row in each.rows]
        found = style.looks(self.methods if self.labels is None else self.labels, {row.label: row.control for row in rows if row.control})
        if missing := [row.label for row in rows if row.label not in found]:
            raise ValueError(f"labels must name every method that the figure shows; {', '.join(missing)} is missing")
        return found

    @cached_property
    def prepared(self) -> Prepared:
        """The data set's folder, checked."""
        return Prepared(self.results / "data" / self.id, self.id)

    @property
    def card(self) -> dict[str, Any]:
        """The data set's card."""
        return self.prepared.card

    @cached_property
    def spec(self) -> DataSpec:
        """The data set as models see it."""
        return self.prepared.spec

    @cached_property
    def data(self) -> dict[str, np.ndarray]:
        """The prepared arrays: vectors, or image levels."""
        return self.prepared.arrays()

    def row(self, label: str) -> ranking.Row:
        """A label's row of the summary."""
        return next(row for row in self.comparison.rows if row.label == label)

    def first(self, label: str) -> Run | None:
        """The first seed that finished."""
        return next((run for run in self.groups[label] if not run.diverged), None)

    def name(self, label: str) -> str:
        """A panel's title: the label, and how many seeds it kept if it lost some."""
        row = self.row(label)
        if row.finished < row.total:
            return f"{label} ({row.finished}/{row.total} seeds)"
        return f"{label} (control)" if row.control in CONTROLS and row.control != label else label

    def result(self, label: str) -> str:
        """A label's headline number, empty if it has none."""
        cell = self.row(label).cells.get(self.comparison.headline or "")
        return cell.quantity.plain() if cell and cell.quantity else ""

    def title(self, axes: Axes, label: str, **options: Any) -> None:
        """Head a panel with a label's name and its headline number."""
        axes.set_title("\n".join(filter(None, (self.name(label), self.result(label)))), **options)

    def header(self, figure: matplotlib.figure.Figure) -> None:
        """Head a figure with its data set and what the numbers under the names are."""
        metric = self.comparison.headline
        spread = "mean ± sd over seeds" if max(row.total for row in self.comparison.rows) > 1 else "one seed"
        note = f" · {metric} under each name, {spread}, best first" if metric else ""
        figure.suptitle(self.id + note, x=0.01, ha="left", fontsize=8, color=style.MUTED)

    def loss_of(self, label: str) -> str:
        """Why no seed of a label finished, for a panel."""
        parts = self.groups[label][0].reason.replace(" (", "\n(", 1).split("\n")
        return "\n".join(["diverged", *(textwrap.fill(part, PANEL_LINE) for part in parts)])


class Figure(ABC):
    """A picture of the results.

    Attributes:
        name: id, equal to the file's name.
        title: what the report calls it.
        caption: its caption's file in ``workflow/report``.
        category: where the report lists it.
        kinds: the kinds of data it is drawn for; empty for one picture of all data sets.
        needs: what there must be for the workflow to draw it: ``classifier``, a label that trains one on the data set; ``watch``, runs
            whose likelihood is written down while they are trained; ``latent``, a label whose energy has a latent space;
            ``generator``, a label whose model makes examples of latent vectors; ``revision``, one that revises a generator's samples;
            ``compositions``; ``theorems``, and no run at all. None: nothing but runs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    caption: ClassVar[str]
    category: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    needs: ClassVar[Literal["classifier", "watch", "latent", "generator", "revision", "compositions", "theorems"] | None] = None

    @abstractmethod
    def draw(self, context: Context) -> matplotlib.figure.Figure:
        """Draw it. No pyplot: the figure belongs to the caller."""


def draw(name: str, results: Path, dataset: str | None, runs: Runs, out_stem: Path, labels: Sequence[str] | None = None) -> None:
    """Draw figure ``name`` and write ``out_stem.png`` and ``out_stem.pdf``.

    Args:
        name: id of the figure.
        results: folder of everything the workflow made.
        dataset: the data set; None for a figure of all of them.
        runs: {dataset: {label: [seeds]}}; a figure of one data set needs that one only.
        out_stem: the files' path without suffix.
        labels: the methods' labels in the order that gives them their colours; None: those of ``runs``, in their order.

    Raises:
        UnknownMember: if there is no such figure.
        ValueError: if the figure means nothing on this kind of data, ``runs`` is none of its kind or lacks the data set, or ``labels``
            lacks a method that the figure shows.
    """
    check_runs(runs)
    figure: Figure = registry.load(FIGURES, name)()
    context = Context(results, dataset if figure.kinds else None, runs, labels)
    if figure.kinds and context.spec.kind not in figure.kinds:
        raise ValueError(f"figure {name!r} is for {', '.join(sorted(figure.kinds))}; {dataset} is {context.spec.kind}")
    with style.applied():
        drawn = figure.draw(context)
    style.save(drawn, out_stem)


def catalogue() -> dict[str, dict[str, Any]]:
    """What the Snakefile must know about each figure, by id."""
    return {
        name: {"title": figure.title, "caption": figure.caption, "category": figure.category, "kinds": sorted(figure.kinds)}
        for name, figure in registry.load_all(FIGURES).items()
    }
