"""Markdown, LaTeX and HTML: how each writes what a table says."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import ClassVar, Protocol

from ebmpipe.report.numbers import Interval, Quantity


class Dialect(Protocol):
    """What a table needs from a language."""

    def text(self, text: str) -> str:
        """Prose, escaped."""

    def name(self, text: str) -> str:
        """An id."""

    def number(self, quantity: Quantity | Interval, bold: bool = False) -> str:
        """A number."""

    def mark(self, mark: str) -> str:
        """A raised footnote mark."""

    def table(self, title: str, head: list[str], body: list[list[str]], notes: list[str], foot: str) -> str:
        """A whole table of cells that are already in the dialect."""


class Markdown:
    """GitHub's Markdown."""

    def text(self, text: str) -> str:
        return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)

    def name(self, text: str) -> str:
        return f"`{text}`"

    def number(self, quantity: Quantity | Interval, bold: bool = False) -> str:
        return f"**{quantity.plain()}**" if bold else quantity.plain()

    def mark(self, mark: str) -> str:
        return f"<sup>{mark}</sup>"

    def table(self, title: str, head: list[str], body: list[list[str]], notes: list[str], foot: str) -> str:
        rows = [head, ["---"] + ["--:"] * (len(head) - 1), *body]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        below = [*([foot, ""] if foot else []), *(f"- {note}" for note in notes)]
        return "\n".join([f"## {title}", "", *lines, "", *below]).rstrip() + "\n"


class Latex:
    """LaTeX with booktabs. A wide table is cut into blocks of columns below each other."""

    COLUMNS = 4

    SPECIAL: ClassVar[dict[str, str]] = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
    }
    SYMBOLS: ClassVar[dict[str, str]] = {
        "±": r"$\pm$", "×": r"$\times$", "→": r"$\to$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "\u2212": "$-$", "²": "$^2$",
        "–": "--", "σ": r"$\sigma$", "∇": r"$\nabla$", "≥": r"$\ge$", "≤": r"$\le$", "é": r"\'e", "’": "'",
    }  # fmt: skip

    def text(self, text: str) -> str:
        return "".join(self._character(character) for character in text)

    def _character(self, character: str) -> str:
        if character in "&%$#_{}":
            return f"\\{character}"
        if character in self.SPECIAL or character in self.SYMBOLS:
            return self.SPECIAL.get(character) or self.SYMBOLS[character]
        if character.isascii():
            return character
        return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"

    def name(self, text: str) -> str:
        return self.text(text)

    def number(self, quantity: Quantity | Interval, bold: bool = False) -> str:
        return quantity.latex(bold)

    def mark(self, mark: str) -> str:
        return f"\\textsuperscript{{{mark}}}"

    def stacked(self, cell: str) -> str:
        """A heading on several lines, so that long names do not widen their column."""
        name, *rest = cell.split(" ")
        lines = [*(name.replace(r"\_", r"\_ ").split(" ") if len(name) > 14 else [name]), *([" ".join(rest)] if rest else [])]
        return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else cell

    def table(self, title: str, head: list[str], body: list[list[str]], notes: list[str], foot: str) -> str:
        blocks = -(-(len(head) - 1) // self.COLUMNS)
        size = -(-(len(head) - 1) // blocks)
        tabulars: list[str] = []
        for start in range(1, len(head), size):
            rows = [" & ".join([row[0], *row[start : start + size]]) + r" \\" for row in [[self.stacked(cell) for cell in head], *body]]
            columns = "@{}l" + "r" * len(head[start : start + size]) + "@{}"
            tabulars += [r"\par\smallskip"] * (start > 1)
            tabulars += [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]
        below = [r"\par\smallskip\raggedright " + r" \\ ".join(notes)] if notes else []
        return "\n".join(
            [
                r"\begin{table}",
                f"\\caption{{{title}. {foot}}}",
                r"\par\medskip\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                *tabulars,
                *below,
                r"\end{table}",
                "",
            ]
        )


class Html:
    """HTML, to be styled by whoever shows it."""

    def text(self, text: str) -> str:
        return html.escape(text)

    def name(self, text: str) -> str:
        return f"<code>{html.escape(text)}</code>"

    def number(self, quantity: Quantity | Interval, bold: bool = False) -> str:
        text = html.escape(quantity.plain())
        return f"<b>{text}</b>" if bold else text

    def mark(self, mark: str) -> str:
        return f"<sup>{mark}</sup>"

    def breakable(self, text: str) -> str:
        """A heading that may wrap at underscores, and whose arrow stays with the name."""
        return text.replace("_", "_<wbr>").replace(" ↓", "&nbsp;↓").replace(" ↑", "&nbsp;↑")

    def table(self, title: str, head: list[str], body: list[list[str]], notes: list[str], foot: str) -> str:
        rows = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
        return "\n".join(
            [
                f"<h2>{title}</h2>", '<div class="wide"><table>',
                "<thead><tr>" + "".join(f"<th>{self.breakable(cell)}</th>" for cell in head) + "</tr></thead>",
                "<tbody>", *rows, "</tbody></table></div>", *([f'<p class="foot">{foot}</p>'] if foot else []),
                *(['<ul class="foot">', *(f"<li>{note}</li>" for note in notes), "</ul>"] if notes else []), "",
            ]
        )  # fmt: skip


MARKDOWN, LATEX, HTML = Markdown(), Latex(), Html()
