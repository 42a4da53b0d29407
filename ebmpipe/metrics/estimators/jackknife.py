"""Standard errors by leaving out groups (Quenouille 1956; Shao & Wu 1989, for statistics that are not smooth)."""

from __future__ import annotations

import numpy as np

#: Groups that are left out in turn.
GROUPS = 20


def group_of(n: int, groups: int = GROUPS) -> np.ndarray:
    """The group of each of ``n`` rows, (n,)."""
    return np.arange(n) % groups


def standard_error(left: np.ndarray) -> float:
    """Standard error of a statistic, from its values with one group left out at a time, (groups,)."""
    return float(np.sqrt((len(left) - 1) * np.var(left)))
