"""What a training run may spend, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebmpipe.methods.base import Method

#: Rows of the history, about.
LOGGED = 200
#: What may say how long a run is.
LENGTHS = ("gradient_evaluations", "updates", "training_flops")


class Budget:
    """How long a run is, and the clock that its schedule, history and progress go by.

    A run has so many gradient evaluations to spend, or so many updates to make. Of gradient evaluations as many updates are made as are
    paid for in full where all cost the same, and the clock counts updates. Where their cost is random, it counts gradient evaluations, and
    updates are made until none are left: the last one may overshoot, by less than its own cost. Of a number of updates each is made,
    whatever it costs, and the clock counts them; what they cost is added up all the same.

    Args:
        method: what is trained.
        total: gradient evaluations in all; None where ``updates`` are given.
        updates: updates in all; None where ``total`` is.

    Attributes:
        updates: updates done.
        spent: gradient evaluations of these, and of setting the method up.
        size: the clock's last reading; 0 for controls, which train nothing.
        unit: what the clock counts, for people; empty for updates.

    Raises:
        ValueError: if nothing is left for a first update, or not exactly one of ``total`` and ``updates`` is given.
    """

    def __init__(self, method: Method, total: int | None, updates: int | None = None) -> None:
        if (total is None) == (updates is None):
            raise ValueError("a run is as long as its gradient evaluations or its updates say: give one of them")
        self.random, self.updates, self.spent = method.random_cost, 0, method.gradient_evaluations_at_start
        self.at_start, self.per_update = method.gradient_evaluations_at_start, method.gradient_evaluations_per_step
        available = 0 if total is None else total - self.at_start
        if not method.trains:
            available, self.expected = 0, 0
        elif updates is not None:
            self.expected = updates
        elif available < (1 if self.random else self.per_update):
            raise ValueError(
                f"gradient_evaluations = {total} does not pay for one update of {method.name}, "
                f"which costs {self.per_update} after {self.at_start} at the start"
            )
        else:
            self.expected = max(1, available // self.per_update)
        self._counts_cost = self.random and updates is None
        self.size = available if self._counts_cost else self.expected
        self.unit = "grad" if self._counts_cost else ""

    @property
    def position(self) -> int:
        """The clock's reading, at most `size`."""
        return min(self.size, self.spent - self.at_start) if self._counts_cost else self.updates

    @property
    def fraction(self) -> float:
        """Fraction of the run that is over, in [0, 1]."""
        return self.position / max(1, self.size)

    @property
    def exhausted(self) -> bool:
        """Whether no further update is paid for, or due."""
        return self.position >= self.size

    @property
    def iterations(self) -> int:
        """Updates of the whole run. Where a budget is spent on random costs, an expectation until it is exhausted."""
        return self.updates if self._counts_cost and self.exhausted else self.expected

    def resume(self, updates: int, spent: int) -> None:
        """Go on from where a checkpoint was written."""
        self.updates, self.spent = updates, spent

    def pay(self, report: dict[str, Any]) -> bool:
        """Count an update that reported ``report``; returns whether its row belongs in the history.

        Of an update of random cost, the report's ``gradient_evaluations`` become ``cost``: the history's column of the former name
        adds up all of them.
        """
        before = self.position
        cost = self.per_update
        if self.random:
            cost = report["cost"] = int(report.pop("gradient_evaluations"))
        self.updates, self.spent = self.updates + 1, self.spent + cost
        period = max(1, self.size // LOGGED)
        return self.exhausted or self.position // period > before // period

    def progress(self, updates: int, spent: int) -> str:
        """Where a run is that has made so many updates at that cost, in words."""
        if self._counts_cost:
            return f"step {updates}, {spent} of {self.size + self.at_start} gradient evaluations spent"
        return f"step {updates} of {self.size}"
