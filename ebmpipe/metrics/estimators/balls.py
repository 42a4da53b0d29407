"""Balls about feature vectors that reach to their k-th nearest neighbour: which of other vectors lie in them.

What is counted is a mean over rows of one side of what the other side, and the balls, say of each. It is counted with all rows, and again
with each of some groups of rows of one side left out: row i belongs to group i modulo their number. The first axis of what the functions
here return is this *version*: 0 is all rows, 1 + g without group g.
"""

from __future__ import annotations

import numpy as np

from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.distances import squared_distances
from ebmpipe.metrics.estimators.jackknife import GROUPS, group_of

#: Rows of a matrix of distances that are held at once, and that are compared with all versions at once, while they are in the cache.
ROWS, CACHED = 512, 32

#: Squared distances are rounded by this much of the largest squared norm: nearer than that, two are equal.
TIE = 1e-12


def centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Both sides about the mean of ``y``, where differences of squares are accurate, and the distance² below which two are equal."""
    x, y = x - y.mean(axis=0), y - y.mean(axis=0)
    return x, y, TIE * max(float((side**2).sum(axis=1).max()) for side in (x, y))


def squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row of ``x`` (n, d) to its ``k``-th nearest other row, by version, (1 + groups, n).

    Raises:
        NotAvailable: if there are too few rows for ``k`` neighbours, one being left out.
    """
    n = len(x)
    if n < k + 2:
        raise NotAvailable(f"{n} samples are too few for balls of {k} neighbours; {k + 2} are needed")
    groups = min(GROUPS, n)
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
            radii[1 + left, part] = found[np.arange(len(found)), place]
    return radii


def coverings(centres: np.ndarray, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """In how many of the balls about ``centres`` (n, d) each of ``points`` (m, d) lies, by version of the centres, (1 + groups, m)."""
    group = group_of(len(centres), len(radii) - 1)
    reaches = [radii[0], *(np.where(group == left, -np.inf, radius) for left, radius in enumerate(radii[1:]))]
    counts = np.empty((len(radii), len(points)), dtype=np.int64)
    for part in chunks(len(points), ROWS):
        squares = squared_distances(points[part], centres)
        for near in chunks(len(squares), CACHED):
            rows = slice(part.start + near.start, part.start + near.stop)
            for version, reach in enumerate(reaches):
                counts[version, rows] = np.bitwise_count(np.packbits(squares[near] <= reach, axis=1)).sum(axis=1)
    return counts


def nearest_points(centres: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Squared distance of each of ``centres`` (n, d) to the nearest of ``points`` (m, d), by version of the points, (1 + groups, n)."""
    groups = min(GROUPS, len(points))
    nearest = np.empty((groups, len(centres)))
    for part in chunks(len(centres), ROWS):
        squares = squared_distances(centres[part], points)
        for group in range(groups):
            nearest[group, part] = squares[:, group::groups].min(axis=1)
    without = [np.delete(nearest, left, axis=0).min(axis=0) for left in range(groups)]
    return np.stack([nearest.min(axis=0), *without])


def mean_and_error(of_rows: np.ndarray, *left_out: np.ndarray) -> tuple[float, float]:
    """Mean of a quantity of each row, (n,), and its standard error.

    Args:
        of_rows: the quantity, with everything that it depends on.
        left_out: for each side that the quantity depends on beside its row, the same with one group of that side left out at a time,
            (groups, n).

    The error has one part from the rows and one from each side. The latter is a grouped jackknife of the mean, from which the share of the
    rows' own randomness is taken, which the first part already has: otherwise the error comes out up to twice too large.
    """
    n = len(of_rows)
    variance = float(np.var(of_rows, ddof=1)) / n
    for left in left_out:
        moved = left.astype(np.float64) - left.mean(axis=0)
        of_side = (moved.mean(axis=1) ** 2 - moved.var(axis=1, ddof=1) / n).sum() * (len(left) - 1) / len(left)
        variance += max(float(of_side), 0.0)
    return float(of_rows.mean()), float(np.sqrt(variance))
