"""The report's first screen: which method did best on each data set, and at what cost."""

from __future__ import annotations

import base64
import textwrap
from html import escape
from pathlib import Path

from ebmpipe.files import write_text
from ebmpipe.report import controls, ranking, tables
from ebmpipe.report.dialects import HTML
from ebmpipe.report.frames import read_tables
from ebmpipe.report.numbers import duration, significant
from ebmpipe.report.ranking import Comparison, Row

#: Longest line of the embedded picture: docutils takes no more than 10,000 characters, and a browser skips line breaks in a data URI.
LINE = 5000
#: Labels that are named as tied; the tables below name all.
TIES = 5
#: The host page centres a narrow column beside the rule graph and cuts off what is taller than the window. These rules hold only while
#: the overview is shown: they give it the page's width, start it at the top, and put the rule graph below.
CSS = """
div:has(> .grow > .py-2 > .prose .ebmpipe) { align-items: flex-start !important; }
.grow:has(> .py-2 > .prose .ebmpipe) { flex-direction: column; min-width: 0; max-width: 100%; }
.py-2:has(> .prose .ebmpipe), .prose:has(.ebmpipe) { max-width: none !important; width: 100%; min-width: 0; }
.ebmpipe { font-size: 14px; line-height: 1.4; color: #222; max-width: 1250px; }
.ebmpipe h1 { font-size: 21px; font-weight: 700; margin: 0 0 4px; }
.ebmpipe h2 { font-size: 16px; font-weight: 700; margin: 20px 0 4px; }
.ebmpipe p { margin: 2px 0 8px; }
.ebmpipe .foot { font-size: 12px; color: #555; margin: 4px 0; list-style: none; padding: 0; }
.ebmpipe .wide { overflow-x: auto; }
.ebmpipe table { border-collapse: collapse; margin: 4px 0; width: auto; font-size: 13px; }
.ebmpipe th, .ebmpipe td { padding: 3px 10px 3px 0; text-align: right; white-space: nowrap; vertical-align: top; }
.ebmpipe th, .ebmpipe td { border-bottom: 1px solid #e4e4e4; }
.ebmpipe th { font-weight: 600; color: #555; border-bottom: 1px solid #777; white-space: normal; vertical-align: bottom; }
.ebmpipe th:first-child, .ebmpipe td:first-child, .ebmpipe .verdict td, .ebmpipe .verdict th { text-align: left; }
.ebmpipe .verdict td:nth-child(6) { white-space: normal; min-width: 9em; }
.ebmpipe td b { color: #0b4f7d; font-weight: 700; }
.ebmpipe code { background: none; padding: 0; color: inherit; font-weight: inherit; font-size: 0.95em; }
.ebmpipe code::before, .ebmpipe code::after { content: none; }
.ebmpipe img { width: 100%; height: auto; margin: 6px 0; }
.ebmpipe a { color: #0072b2; text-decoration: underline; }
@media (max-width: 760px) {
  div:has(> nav):has(.ebmpipe) { flex-direction: column !important; height: auto !important; width: 100% !important; }
  div:has(> nav):has(.ebmpipe) > nav { width: 100% !important; height: auto !important; order: 2; }
  div:has(> .grow > .py-2 > .prose .ebmpipe) { height: auto !important; width: 100%; }
  .ebmpipe .picture { overflow-x: auto; }
  .ebmpipe .picture img { min-width: 640px; max-width: none; }
  .ebmpipe .verdict, .ebmpipe .verdict tbody { display: block; width: 100%; }
  .ebmpipe .verdict tr { display: block; border-bottom: 1px solid #777; padding: 4px 0; }
  .ebmpipe .verdict thead { display: none; }
  .ebmpipe .verdict td { display: inline-block; border: 0; padding: 0 14px 0 0; white-space: normal; }
  .ebmpipe .verdict td:nth-child(3) { display: block; }
  .ebmpipe .verdict td::before { content: attr(data-head) ": "; color: #555; }
  .ebmpipe .verdict td:first-child { font-weight: 700; }
}
"""


def named(row: Row, bold: bool = False) -> str:
    """A label, with its training time unless it is the bold one."""
    seconds = row.costs["train_s"]
    if bold:
        return f"<b><code>{escape(row.label)}</code></b>"
    return f"<code>{escape(row.label)}</code>" + (f" ({duration(seconds)})" if seconds is not None else "")


def number(comparison: Comparison, row: Row | None) -> str:
    """A row's headline result."""
    cell = row.cells[comparison.headline] if row and comparison.headline else None
    return HTML.number(cell.quantity) if cell and cell.quantity else "n/a"


def verdict(comparison: Comparison) -> list[tuple[str, str]]:
    """One data set's line: (heading, text) cells."""
    lost = sum(row.total - row.finished for row in comparison.rows)
    runs = sum(row.total for row in comparison.rows)
    name, diverged = ("Data set", f"<code>{escape(comparison.dataset)}</code>"), ("Diverged", f"{lost} of {runs} runs" if lost else "none")
    if comparison.headline is None or not comparison.best:
        blank = [(title, "") for title in ("Result", "Training", "Gradient evaluations", "Tied", "Held-out data")]
        return [name, ("Best", "none to name"), *blank, diverged]
    best, *ties = comparison.best
    seconds, evaluations = best.costs["train_s"], best.costs["gradient_evaluations"]
    scale = number(comparison, next((row for row in comparison.rows if row.control == "data"), None))
    more = f" and {len(ties) - TIES} more" if len(ties) > TIES else ""
    return [
        name, ("Best", named(best, bold=True)),
        ("Result", f"{escape(tables.column_title(comparison.headline, comparison))} <b>{number(comparison, best)}</b>"),
        ("Training", duration(seconds) if seconds is not None else "unknown"),
        ("Gradient evaluations", significant(evaluations).plain() if evaluations is not None else "unknown"),
        ("Tied", ", ".join(named(row) for row in ties[:TIES]) + more or "none"),
        ("Held-out data", "0 (truth)" if comparison.headline == "nll_gap" else scale), diverged,
    ]  # fmt: skip


def verdicts(comparisons: list[Comparison]) -> str:
    """The table of verdicts."""
    lines = [verdict(comparison) for comparison in comparisons]
    head = "".join(f"<th>{title}</th>" for title, _ in lines[0])
    body = "\n".join("<tr>" + "".join(f'<td data-head="{title}">{text}</td>' for title, text in line) + "</tr>" for line in lines)
    return f'<table class="verdict"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'


def introduction(comparisons: list[Comparison]) -> str:
    """What was compared, in a sentence."""
    methods = counted([sum(not row.control for row in comparison.rows) for comparison in comparisons], "method")
    seeds = counted([row.total for comparison in comparisons for row in comparison.rows], "seed")
    rule = "Tied: ranked after the best, but before the first that Welch's t-test tells from it at the 5 % level."
    return f"{methods} on {counted([len(comparisons)], 'data set')}, {seeds} each. {rule}"


def counted(counts: list[int], noun: str) -> str:
    """``3 methods``, or ``2 to 3 methods`` where they differ."""
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} {noun}{'' if high == 1 else 's'}"


def page(comparisons: list[Comparison], picture: bytes | None) -> str:
    """The whole fragment."""
    image = "\n".join(textwrap.wrap(base64.b64encode(picture).decode(), LINE)) if picture else ""
    checked = [f"Controls on {controls.in_words(each.dataset, controls.checks(each))}" for each in comparisons]
    parts = [
        f"<style>{CSS}</style>", '<div class="ebmpipe">', "<h1>Which method did best, and at what cost</h1>",
        f"<p>{introduction(comparisons)}</p>", verdicts(comparisons),
        f'<div class="picture"><img alt="Quality against cost" src="data:image/png;base64,{image}"></div>' if picture else "",
        f'<ul class="foot">{"".join(f"<li>{escape(line)}</li>" for line in checked)}</ul>',
        f'<p class="foot">{escape(tables.rule(comparisons) + tables.left_out(comparisons))}</p>', tables.html_tables(comparisons),
        "</div>", "",
    ]  # fmt: skip
    return "\n".join(filter(None, parts))


def restructured(fragment: str) -> str:
    """HTML as reStructuredText that a Jinja template engine leaves alone."""
    lines = ["{% raw %}", ".. raw:: html", "", *(f"   {line}".rstrip() for line in fragment.splitlines()), "", "{% endraw %}", ""]
    return "\n".join(lines)


def write_overview(results: Path, out: Path, picture: Path | None = None) -> None:
    """Write the report's first screen from the tables and the summary figure: reStructuredText without outside references.

    Args:
        results: folder of everything the workflow made; its tables must be there.
        out: the text, for Snakemake's ``report`` directive.
        picture: PNG of the summary figure; ``figures/overview/summary.png`` of the results if None. Left out if there is none.

    Raises:
        MissingResult: if there are no tables.
    """
    image = picture or results / "figures" / "overview" / "summary.png"
    fragment = page(ranking.compare(*read_tables(results)), image.read_bytes() if image.is_file() else None)
    write_text(out, restructured(fragment))
