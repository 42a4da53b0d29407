"""The contract of a theorem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

#: Where the figure draws a theorem: normalised errors, remainders, divergences in time or side by side, errors of losses of pairs, errors
#: of short contractions, which are an inset, or contractions of divergences.
Panel = Literal["limits", "remainders", "flows", "blindness", "rule", "short", "contractions"]


@dataclass(frozen=True)
class Measured:
    """What was measured of a theorem.

    Attributes:
        arrays: curves, float64.
        numbers: what the curves come to, such as fitted slopes.
    """

    arrays: Mapping[str, np.ndarray]
    numbers: Mapping[str, float]


class Theorem(ABC):
    """An identity between objectives, measured in double precision, in seconds, and without a run.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the same losses would give other numbers.
        title: what the figure calls it, in a few words.
        statement: the identity, in one line.
        source: authors and year.
        methods: ids of the methods whose losses it is about; a revision of theirs is one of the theorem's.
        panel: where the figure draws it.
        legend: what the figure calls curves of it, by the beginning of their array's name, where it draws several.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    title: ClassVar[str]
    statement: ClassVar[str]
    source: ClassVar[str]
    methods: ClassVar[tuple[str, ...]] = ()
    panel: ClassVar[Panel]
    legend: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def measure(self) -> Measured:
        """Curves and what they come to; the same every time."""
