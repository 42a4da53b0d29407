"""The unbiased estimate of the squared maximum mean discrepancy, and its standard error, for any kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ebmpipe.metrics.estimators.arrays import chunks

#: (m, d) and (n, d) -> (m, n).
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Rows of a kernel matrix that are held at once.
ROWS = 256


@dataclass(frozen=True)
class Gram:
    """What a U-statistic needs of a kernel matrix (m, n), whose diagonal is left out if both sides are one sample.

    Attributes:
        rows: mean of each row, (m,).
        columns: mean of each column, (n,).
        square: mean of the squared entries.
    """

    rows: np.ndarray
    columns: np.ndarray
    square: float

    @property
    def mean(self) -> float:
        """Mean of the entries."""
        return float(self.rows.mean())

    @property
    def centred_square(self) -> float:
        """Mean square of the entries less their row's and column's mean: the part of second order."""
        spread = self.square - float((self.rows**2).mean()) - float((self.columns**2).mean()) + self.mean**2
        return max(spread, 0.0)


def gram(kernel: Kernel, x: np.ndarray, y: np.ndarray | None = None) -> Gram:
    """Means of the kernel matrix of ``x`` and ``y``; of ``x`` with itself, off the diagonal, without ``y``."""
    other = x if y is None else y
    columns, rows, square = np.zeros(len(other)), np.empty(len(x)), 0.0
    for part in chunks(len(x), ROWS):
        block = kernel(x[part], other)
        if y is None:
            block[np.arange(len(block)), np.arange(part.start, part.stop)] = 0.0
        rows[part] = block.sum(axis=1)
        columns += block.sum(axis=0)
        square += float(np.vdot(block, block))
    width, height = (len(other), len(x)) if y is not None else (len(x) - 1, len(x) - 1)
    return Gram(rows / width, columns / height, square / (len(x) * width))


def kept_gram(kernel: Kernel, x: np.ndarray, cache: dict[str, np.ndarray], family: str) -> Gram:
    """`gram` of ``x`` with itself, computed once per cache and family: for test examples, which all sources share."""
    if f"{family}/rows" not in cache:
        made = gram(kernel, x)
        cache[f"{family}/rows"], cache[f"{family}/square"] = made.rows, np.array(made.square)
    return Gram(cache[f"{family}/rows"], cache[f"{family}/rows"], float(cache[f"{family}/square"]))


def squared_mmd(xx: Gram, yy: Gram, xy: Gram) -> tuple[float, float]:
    """Unbiased MMD² between the laws of x and y, and its standard error. The value may be negative.

    The error follows from Hoeffding's decomposition into uncorrelated parts: one of first order in each sample, which
    vanishes when both laws are equal, and one of second order for each of the three matrices, which does not.
    """
    m, n = len(xx.rows), len(yy.rows)
    value = xx.mean + yy.mean - 2 * xy.mean
    second = [xx.centred_square, yy.centred_square, xy.centred_square]
    # The spread of the row means overstates the first-order part by the second-order noise that each of them carries.
    first_x = float((xx.rows - xy.rows).var(ddof=1)) - second[0] / (m - 1) - second[2] / n
    first_y = float((yy.rows - xy.columns).var(ddof=1)) - second[1] / (n - 1) - second[2] / m
    variance = 4 * max(first_x, 0.0) / m + 4 * max(first_y, 0.0) / n
    variance += 2 * second[0] / (m * (m - 1)) + 2 * second[1] / (n * (n - 1)) + 4 * second[2] / (m * n)
    return value, float(np.sqrt(variance))
