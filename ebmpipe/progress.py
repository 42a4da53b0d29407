"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

#: Seconds until the first plain line, which shows that the work goes on, and between later ones.
FIRST, PERIOD = 2.0, 15.0
#: Columns that the bar itself keeps when the numbers beside it are many.
BAR = 10
#: Columns of a terminal that does not say how many it has.
WIDTH = 80


def scaled(count: int | None, unit: str) -> str:
    """A count as text: plain without a unit, else with its power of a thousand, as in 9.91 MB.

    >>> scaled(1500, ""), scaled(9_912_422, "B"), scaled(None, "B")
    ('1500', '9.91 MB', '?')
    """
    if count is None:
        return "?"
    if not unit:
        return str(count)
    number = str(tqdm.format_sizeof(count))
    return f"{number} {unit}" if number[-1].isdigit() else f"{number[:-1]} {number[-1]}{unit}"


def fitting(numbers: dict[str, float], columns: int) -> str:
    """As many of ``numbers`` as ``columns`` characters hold, in their order.

    >>> fitting({"loss": -0.123456, "gradient_norm": 2.0, "age": 31360.0}, 30)
    'loss -0.123, gradient norm 2'
    """
    text = ""
    for key, value in numbers.items():
        more = ", " * bool(text) + f"{key.replace('_', ' ')} {value:.3g}"
        if len(text) + len(more) <= columns:
            text += more
    return text


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar in one line of a terminal of any width: the numbers that do not fit beside it are left out."""

    def __init__(self, title: str, total: int | None, start: int, unit: str) -> None:
        self.numbers: dict[str, float] = {}
        # tqdm hides its bars on a terminal that says it has 0 rows and columns, so it is not left to ask.
        super().__init__(
            total=total, initial=start, desc=title, miniters=1, unit=unit or "it", unit_scale=bool(unit), ncols=WIDTH, nrows=20
        )

    def columns(self) -> int:
        """Width of the terminal as it is now; the last column stays free, or some terminals would start a new line."""
        try:
            return (os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH) - 1
        except (OSError, ValueError):
            return WIDTH - 1

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """What the line is made of; tqdm asks for it whenever it draws."""
        known: dict[str, Any] = dict(super().format_dict)
        columns = self.columns()
        bare = tqdm.format_meter(**known | {"ncols": None, "postfix": None, "bar_format": self.line.replace("{bar}", "")})
        room = columns - len(bare) - len(", ")
        # The first number is worth more than the bar.
        shown = fitting(self.numbers, room - BAR) or fitting(dict(list(self.numbers.items())[:1]), room - 1)
        return known | {"ncols": columns, "postfix": shown, "bar_format": self.line}

    @property
    def line(self) -> str:
        """tqdm's template; of unknown length there is no bar."""
        if self.total is None:
            return "{desc}: {n_fmt}, {rate_fmt}{postfix}"
        return "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {rate_fmt}, {remaining} left{postfix}"


class Progress:
    """Counts steps of ``total`` (None if unknown) and shows rate, time left and a few numbers; with a ``unit``, as in 1.2 MB.

    Work that is empty or done already is passed over in silence.
    """

    def __init__(self, title: str, total: int | None, start: int = 0, unit: str = "") -> None:
        self.title, self.total, self.step, self.unit = title, total, start, unit
        self._start, self._begun = start, time.monotonic()
        self._last, self._uncounted = self._begun, 0.0
        self._due = self._begun + FIRST
        self._numbers: dict[str, float] = {}
        self._silent = total is not None and start >= total
        self._bar = Bar(title, total, start, unit) if sys.stderr.isatty() and not self._silent else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        elif not self._silent:
            self._say()

    def skip(self) -> None:
        """The time since the last step went into work that is not counted: rate and time left are of what is."""
        now = time.monotonic()
        self._uncounted += now - self._last
        self._last = now
        if self._bar is not None:
            self._bar.unpause()

    def advance(self, numbers: dict[str, float] | None = None, count: int = 1) -> None:
        """``count`` more steps; ``numbers`` are shown until there are new ones."""
        self.step += count
        self._last = time.monotonic()
        self._numbers = numbers or self._numbers
        if self._bar is not None:
            self._bar.numbers = self._numbers
            self._bar.update(count)
        elif self._last >= self._due:
            self._say()

    def _say(self) -> None:
        now = time.monotonic()
        self._due = now + PERIOD
        seconds = now - self._begun
        counted = seconds - self._uncounted
        rate = (self.step - self._start) / counted if counted > 0 else 0.0
        left = f"{(self.total - self.step) / rate:.0f} s left" if rate > 0 and self.total is not None else "rate unknown"
        shown = "".join(f", {k} {v:.4g}" for k, v in self._numbers.items())
        done = f"{scaled(self.step, self.unit)}/{scaled(self.total, self.unit)}"
        print(f"{self.title}: {done} in {seconds:.0f} s, {left}{shown}", file=sys.stderr, flush=True)
