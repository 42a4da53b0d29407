"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

#: Seconds between plain lines.
PERIOD = 15.0


class Progress:
    """Counts steps of ``total`` and shows the rate, the time left and a few numbers, on standard error."""

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        self.title, self.total, self.step = title, total, start
        self._start, self._begun = start, time.monotonic()
        self._spoken = self._begun
        self._bar = tqdm(total=total, initial=start, desc=title, dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._say({})

    def advance(self, numbers: dict[str, float] | None = None) -> None:
        """One more step; ``numbers`` are shown when there are new ones."""
        self.step += 1
        if self._bar is not None:
            self._bar.update()
            if numbers:
                self._bar.set_postfix({k: f"{v:.3g}" for k, v in numbers.items()}, refresh=False)
        elif time.monotonic() - self._spoken > PERIOD:
            self._say(numbers or {})

    def _say(self, numbers: dict[str, float]) -> None:
        self._spoken = time.monotonic()
        seconds = self._spoken - self._begun
        rate = (self.step - self._start) / seconds if seconds > 0 else 0.0
        left = f"{(self.total - self.step) / rate:.0f} s left" if rate > 0 else "rate unknown"
        shown = "".join(f", {k} {v:.4g}" for k, v in numbers.items())
        print(f"{self.title}: {self.step}/{self.total} in {seconds:.0f} s, {left}{shown}", file=sys.stderr, flush=True)
