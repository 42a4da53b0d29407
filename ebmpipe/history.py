"""The history of a training run: history.csv. Needs no torch, for those who only read it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ebmpipe.files import write_text

#: First columns.
CLOCK = ("step", "gradient_evaluations", "wall_s")
#: Last columns of a watched run; see `ebmpipe.watching`.
WATCHED = ("log_likelihood", "log_likelihood_average", "mmd")

Row = dict[str, Any]


def number(value: Any) -> float:
    """What a method reports as a plain number: a scalar, a tensor of one element, or a function of nothing that gives either."""
    value = value() if callable(value) else value
    # A tensor that still carries its graph is detached first.
    return float(value.detach() if hasattr(value, "detach") else value)


def row(step: int, gradient_evaluations: int, wall_s: float, report: dict[str, Any]) -> Row:
    """One row: the clock, then what the update reported, as plain numbers; what is dear to compute is so only now."""
    numbers = {key: number(value) for key, value in report.items()}
    return dict(zip(CLOCK, (step, gradient_evaluations, round(wall_s, 3)), strict=True)) | numbers


def diagnostics(row: Row) -> dict[str, float]:
    """What a row says beside the clock."""
    return {key: value for key, value in row.items() if key not in CLOCK}


def clipped_fraction(rows: list[Row]) -> float | None:
    """Fraction of the coordinates of ∇E that training clipped along its chains: mean over the later half of ``rows``; None without any.

    An update reports ``clipped`` where there was any.
    """
    late = rows[len(rows) // 2 :]
    return sum(row.get("clipped", 0.0) for row in late) / len(late) if late else None


def write_history(path: Path, rows: list[Row]) -> None:
    """Write the rows as CSV; a column that a row lacks is empty there."""
    columns = list(dict.fromkeys(key for row in rows for key in row)) or list(CLOCK)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
