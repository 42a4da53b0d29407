"""The summary tables: one per data set, in every language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ebmpipe.report.cells import INTERVAL, Cell
from ebmpipe.report.controls import checks, in_words
from ebmpipe.report.dialects import HTML, LATEX, MARKDOWN, Dialect
from ebmpipe.report.numbers import letters, significant
from ebmpipe.report.protocols import sharing
from ebmpipe.report.ranking import COSTS, Comparison, Row
from ebmpipe.report.reading import source_beside

ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}
COST_TITLES = {"gradient_evaluations": "gradient evaluations", "train_s": "training (s)", "training_flops": "training FLOPs"}
RULE = (
    "Mean ± standard deviation over seeds, in the digits that the larger of it and the standard error of one run's test sample leaves; "
    "↓ lower, ↑ higher is better. Bold: the best, and those ranked after it up to, but without, the first that Welch's t-test tells from "
    "the best at the 5 % level (it takes two seeds of each). Controls and labels with a diverged seed do not compete."
)
BESIDE = {
    "own": " A row label@own is the same models by the samples of the method's own sampler; it does not compete.",
    "fresh": " A row label@fresh is the same models by long chains, the same for every method; it does not compete.",
}
BRACKETED = " low – high: the value is only known to lie between the two, means over seeds of both ends; it does not compete."
NOMINAL = (
    "this share of the coordinates of ∇E was clipped along the chains: the temperature, which noise and drift would give them, is nominal"
)
CAPTION = "Mean ± standard deviation over seeds, digits limited also by the standard error of a run; bold: best, and what ties with it."


class Notes:
    """Footnotes of one table: equal reasons share a mark."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}

    def mark(self, reason: str) -> str:
        """The mark of ``reason``."""
        return self.marks.setdefault(reason, letters(len(self.marks)))

    def lines(self, dialect: Dialect) -> list[str]:
        """All footnotes."""
        return [f"{dialect.mark(mark)} {dialect.text(reason)}" for reason, mark in self.marks.items()]


def column_title(metric: str, comparison: Comparison) -> str:
    """A metric's name, direction and unit."""
    info = comparison.metrics[metric]
    unit = f" ({info.unit})" if info.unit not in ("", "1", "ratio") else ""
    return f"{metric}{ARROWS[info.better]}{unit}"


def result(cell: Cell, dialect: Dialect, notes: Notes) -> str:
    """A cell: number, interval with its reason as a footnote, ``diverged``, or ``n/a`` with its reason."""
    if cell.quantity is not None:
        mark = "" if cell.interval is None else dialect.mark(notes.mark(cell.status.removeprefix(INTERVAL)))
        return dialect.number(cell.quantity, cell.best) + mark
    if cell.status == "diverged":
        return dialect.text("diverged")
    return "n/a" + dialect.mark(notes.mark(cell.status))


def cost(value: float | None, dialect: Dialect) -> str:
    """A cost, to two or three digits; the milliseconds in which a control trains nothing are 0."""
    if value is None:
        return dialect.text("–")
    return dialect.number(significant(value if value >= 0.05 else 0, 3 if value < 1e5 else 2))


def temperature(row: Row, dialect: Dialect, notes: Notes) -> str:
    """The temperature of a row's law; where gradients were clipped, how many of their coordinates, and that it is then nominal."""
    if row.control or row.temperature is None:
        return dialect.text("–")
    value = dialect.number(significant(row.temperature))
    if not row.clipped:
        return value
    share = f"{100 * row.clipped:.0f} %" if row.clipped >= 0.005 else "<1 %"
    return f"{value} {dialect.text(f'(clipped {share})')}{dialect.mark(notes.mark(NOMINAL))}"


def line(row: Row, comparison: Comparison, dialect: Dialect, notes: Notes) -> list[str]:
    """The cells of one row."""
    finished = f"{row.finished}/{row.total}"
    if row.reasons:
        finished += dialect.mark(notes.mark(f"{row.label}: " + "; ".join(row.reasons)))
    name = dialect.name(row.label) + (dialect.text(" (control)") if row.control and row.control != row.label else "")
    cells = [result(row.cells[metric], dialect, notes) for metric in comparison.shown]
    heat = [temperature(row, dialect, notes)] if comparison.heated else []
    return [name, finished, *cells, *heat, *(cost(row.costs[key], dialect) for key in COSTS)]


def name_beside(row: Row, comparison: Comparison) -> str:
    """What the row of a label's other samples is called."""
    return f"{row.label}@{source_beside(comparison.source)}"


def line_beside(row: Row, comparison: Comparison, dialect: Dialect, notes: Notes) -> list[str]:
    """The cells of the row of a label's other samples; what does not depend on samples stands in the label's own row."""
    cells = [result(row.beside[metric], dialect, notes) if metric in row.beside else dialect.text("–") for metric in comparison.shown]
    return [dialect.name(name_beside(row, comparison)), "", *cells, *([""] * (comparison.heated + len(COSTS)))]


def body_of(comparison: Comparison, dialect: Dialect, notes: Notes) -> Iterator[list[str]]:
    """The rows of one table."""
    for row in comparison.rows:
        yield line(row, comparison, dialect, notes)
        if row.beside:
            yield line_beside(row, comparison, dialect, notes)


def about_samples(comparison: Comparison) -> list[str]:
    """Which samples the numbers of a table are about, and how they came about, in a sentence each."""
    made = f": {comparison.made}" if comparison.made else ""
    others = [f"{name_beside(row, comparison)}: {row.made_beside}." for row in comparison.rows if row.made_beside]
    return [f"Samples are of the source {comparison.source}, the same for every method{made}.", *others]


def table(comparison: Comparison, dialect: Dialect, foot: str = "") -> str:
    """The table of one data set."""
    notes = Notes()
    metrics = [column_title(metric, comparison) for metric in comparison.shown]
    head = ["method", "finished", *metrics, *["temperature"] * comparison.heated, *(COST_TITLES[key] for key in COSTS)]
    body = list(body_of(comparison, dialect, notes))
    lost = {reason: ", ".join(names) + (" is" if len(names) == 1 else " are") for reason, names in sharing(comparison.absent).items()}
    stated = sharing({metric: text for metric, text in comparison.protocols.items() if metric in comparison.shown})
    lines = [f"{names} {reason}" for reason, names in lost.items()] + [f"{', '.join(names)}: {text}" for text, names in stated.items()]
    about, below = ([dialect.text(line) for line in found] for found in (about_samples(comparison), lines))
    title = dialect.name(comparison.dataset)
    return dialect.table(title, [dialect.text(cell) for cell in head], body, about + notes.lines(dialect) + below, dialect.text(foot))


def rule(comparisons: list[Comparison], text: str = RULE) -> str:
    """How the tables are to be read."""
    beside = sorted({source_beside(each.source) for each in comparisons if any(row.beside for row in each.rows)})
    bracketed = any(row.cells[metric].interval for each in comparisons for row in each.rows for metric in each.shown)
    return text + "".join(BESIDE[source] for source in beside) + BRACKETED * bracketed


def left_out(comparisons: list[Comparison]) -> str:
    """A sentence on the metrics that are only in the CSV file."""
    left = {name for each in comparisons for name in each.metrics if name not in each.shown and name not in each.absent}
    ends = {name for each in comparisons for name in each.ends}
    aside = {name for each in comparisons for name in each.aside} & left
    names = sorted(left - ends - aside)
    neither = f" Numbers that are neither better nor worse ({', '.join(names)}) are in summary.csv." if names else ""
    again = f" Numbers that say again what a column says ({', '.join(sorted(aside))}) are there too." if aside else ""
    return neither + again + " The ends of brackets are in summary.csv." * bool(ends)


def markdown(comparisons: list[Comparison]) -> str:
    """``summary.md``."""
    intro = MARKDOWN.text(rule(comparisons) + left_out(comparisons))
    checked = [f"- {MARKDOWN.text(in_words(comparison.dataset, checks(comparison)))}" for comparison in comparisons]
    foot = ["## Controls", "", *checked, ""]
    return "\n".join(["# Summary", "", intro, "", *(table(comparison, MARKDOWN) for comparison in comparisons), *foot])


def latex(comparisons: list[Comparison]) -> str:
    """``summary.tex``: floats to be included in a document that loads booktabs."""
    return "\n".join(["% needs \\usepackage{booktabs}", *(table(each, LATEX, rule([each], CAPTION)) for each in comparisons)])


def html_tables(comparisons: list[Comparison]) -> str:
    """The tables as an HTML fragment."""
    return "\n".join(table(comparison, HTML) for comparison in comparisons)


def summary_frame(comparisons: list[Comparison]) -> pd.DataFrame:
    """``summary.csv``: one row per data set and label, in the order of the tables.

    Each metric has four columns: mean, ``_sd``, ``_seeds`` (how many have a value) and ``_best`` (what the tables print bold). Where some
    label has other samples beside the declared ones, ``metric@own`` has the first three. Of an interval the mean is missing; its ends are
    the metrics ``_lower`` and ``_upper``.
    """
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for row in comparison.rows:
            record: dict[str, Any] = {"dataset": comparison.dataset, "method": row.label, "finished": row.finished, "total": row.total}
            for metric, cell in row.cells.items():
                record |= {metric: cell.mean, f"{metric}_sd": cell.sd, f"{metric}_seeds": cell.n, f"{metric}_best": cell.best}
            for metric, cell in row.beside.items():
                name = f"{metric}@{source_beside(comparison.source)}"
                record |= {name: cell.mean, f"{name}_sd": cell.sd, f"{name}_seeds": cell.n}
            rows.append(record | row.costs)
    frame = pd.DataFrame(rows)
    columns = [str(column) for column in frame]
    whole = {column: "Int64" for column in columns if column.endswith("_seeds")}
    whole |= {column: "boolean" for column in columns if column.endswith("_best")}
    return frame[[column for column in columns if column not in COSTS] + list(COSTS)].astype(whole)
