"""Being asked to stop: signals that end a loop between two updates, or, if an update takes too long, inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

#: Seconds that an update is given to end after the signal; what asked (a scheduler, a person) often kills 10 to 30 s later.
GRACE = 5.0


class Interrupted(SystemExit):
    """Asked to stop by a signal; the exit code is the shell's for it. A checkpoint has been written."""


class Overdue(BaseException):
    """Raised inside an update that did not end within the grace after a signal. No `Exception`, so that no method swallows it."""


class StopSignals:
    """While it is entered, SIGTERM and SIGINT set `asked`; `GRACE` seconds later `Overdue` is raised unless `heard` was called.

    Outside the main thread, where Python has no signals, it does nothing.

    Attributes:
        asked: number of the signal that asked to stop, None so far.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGTERM: self._ask, signal.SIGINT: self._ask, signal.SIGALRM: self._late}
            self._previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.heard()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def heard(self) -> None:
        """The loop takes care of it now: there will be no `Overdue`."""
        if self._previous:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _late(self, number: int, frame: FrameType | None) -> None:
        raise Overdue
