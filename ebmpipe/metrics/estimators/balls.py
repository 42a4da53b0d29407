"""Balls about feature vectors that reach to their k-th nearest neighbour: which of other vectors lie in them.

Every count is made with all rows, and again with each of some groups of rows left out on both sides, for the jackknife. Row i of either
side belongs to group i modulo their number. The first axis of what is returned is this *version*: 0 is all rows, 1 + g without group g.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.distances import squared_distances
from ebmpipe.metrics.estimators.jackknife import GROUPS, group_of, standard_error

#: Rows of a matrix of distances that are held at once, few enough that all versions find them in the processor's cache.
ROWS = 32

#: Squared distances are rounded by this much of the largest squared norm: nearer than that, two are equal.
TIE = 1e-12


def groups_of(n: int, k: int) -> int:
    """Number of groups in which ``n`` rows are left out.

    Raises:
        NotAvailable: if too few would be left to have ``k`` neighbours.
    """
    if n < k + 2:
        raise NotAvailable(f"{n} samples are too few for balls of {k} neighbours; {k + 2} are needed")
    return min(GROUPS, n)


def centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Both sides about the mean of ``y``, where differences of squares are accurate, and the distance² below which two are equal."""
    x, y = x - y.mean(axis=0), y - y.mean(axis=0)
    return x, y, TIE * max(float((side**2).sum(axis=1).max()) for side in (x, y))


def squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row of ``x`` (n, d) to its ``k``-th nearest other row, by version, (1 + groups, n).

    Where a row is itself left out, its ball is empty: radius² -∞.
    """
    n = len(x)
    groups = groups_of(n, k)
    group = group_of(n, groups)
    reach = min(n - 1, k + -(-n // groups))  # so many nearest hold k that are not of one group
    radii = np.empty((1 + groups, n))
    for part in chunks(n, ROWS):
        squares = squared_distances(x[part], x)
        squares[np.arange(len(squares)), np.arange(part.start, part.stop)] = np.inf
        nearest = np.argpartition(squares, reach - 1, axis=1)[:, :reach]
        found = np.take_along_axis(squares, nearest, axis=1)
        order = np.argsort(found, axis=1)
        found, theirs = np.take_along_axis(found, order, axis=1), group[np.take_along_axis(nearest, order, axis=1)]
        radii[0, part] = found[:, k - 1]
        for left in range(groups):
            place = (np.cumsum(theirs != left, axis=1) == k).argmax(axis=1)
            radii[1 + left, part] = np.where(group[part] == left, -np.inf, found[np.arange(len(found)), place])
    return radii


def coverings(centres: np.ndarray, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """In how many of the balls about ``centres`` (n, d) each of ``points`` (m, d) lies, by version, (1 + groups, m)."""
    counts = np.empty((len(radii), len(points)), dtype=np.int64)
    for part in chunks(len(points), ROWS):
        squares = squared_distances(points[part], centres)
        for version, reach in enumerate(radii):
            counts[version, part] = np.bitwise_count(np.packbits(squares <= reach, axis=1)).sum(axis=1)
    return counts


def nearest_points(centres: np.ndarray, points: np.ndarray, groups: int) -> np.ndarray:
    """Squared distance of each of ``centres`` (n, d) to the nearest of ``points`` (m, d), by version, (1 + groups, n)."""
    nearest = np.empty((groups, len(centres)))
    for part in chunks(len(centres), ROWS):
        squares = squared_distances(centres[part], points)
        for group in range(groups):
            nearest[group, part] = squares[:, group::groups].min(axis=1)
    without = [np.delete(nearest, left, axis=0).min(axis=0) for left in range(groups)]
    return np.stack([nearest.min(axis=0), *without])


def kept(n: int, groups: int) -> Iterator[np.ndarray]:
    """Which of ``n`` rows each version has, as masks."""
    group = group_of(n, groups)
    yield np.ones(n, dtype=bool)
    yield from (group != left for left in range(groups))


def mean_and_error(of_rows: np.ndarray) -> tuple[float, float]:
    """Mean over the rows that there are of a quantity (1 + groups, n) by version, and its standard error by the jackknife."""
    means = np.array([row[mask].mean() for row, mask in zip(of_rows, kept(of_rows.shape[1], len(of_rows) - 1), strict=True)])
    return float(means[0]), standard_error(means[1:])
