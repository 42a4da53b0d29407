"""How two labels differ on equal seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from ebmpipe.report.dialects import MARKDOWN
from ebmpipe.report.numbers import quantity

#: Share of equal laws whose intervals hold a difference of 0.
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of differences, with its 95 % interval by Student's t.

    Attributes:
        mean: their mean.
        low, high: the interval's ends; None of fewer than two.
        pairs: how many they are.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """`Difference` of the ``values`` less those of the ``reference``, over the seeds that both have; None if they share none."""
    from scipy.special import stdtrit

    found = np.array([value - reference[seed] for seed, value in values.items() if seed in reference])
    if not len(found):
        return None
    mean, n = float(found.mean()), len(found)
    if n < 2:
        return Difference(mean, None, None, n)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(found.std(ddof=1)) / sqrt(n)
    return Difference(mean, mean - half, mean + half, n)


def difference(row: Any) -> str:
    """The ``difference`` of a row and its interval, ``difference_low`` to ``difference_high``, as far as there is one."""
    if pd.isna(row.difference):
        return "n/a"
    if pd.isna(row.difference_low):
        return MARKDOWN.number(quantity(row.difference))
    known = (row.difference_high - row.difference_low) / 2
    ends = [MARKDOWN.number(quantity(end, known_to=known)) for end in (row.difference_low, row.difference_high)]
    return MARKDOWN.number(quantity(row.difference, known_to=known)) + MARKDOWN.text(f" ({ends[0]} to {ends[1]})")
