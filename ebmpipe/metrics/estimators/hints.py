"""Points that a grid must not overlook, and where to find some far from the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks

#: log p up to a constant: (n, 2) -> (n,), nats.
LogDensity = Callable[[np.ndarray], np.ndarray]

#: Most points per call of an energy.
CHUNK = 65_536

#: A hint this many nats above all nodes of its cell shows that the nodes miss a peak.
OVERLOOKED = 1.0

#: Circles searched for ridges, in units of the box's half-width: between the box and its double.
RADII = (1.45, 1.7, 1.95)

#: Points per circle, maxima followed up on each, and rounds of following up, each of which narrows the search threefold.
POINTS, KEPT, ROUNDS = 512, 8, 12


def evaluate(log_density: LogDensity, points: np.ndarray) -> np.ndarray:
    """log p up to a constant at ``points`` (n, 2), float64, in chunks; -inf is a density of zero.

    Raises:
        NotAvailable: if a value is NaN or +inf: no density has those.
    """
    values = np.concatenate([np.asarray(log_density(points[part]), dtype=np.float64) for part in chunks(len(points), CHUNK)])
    if values.shape != (len(points),):
        raise ValueError(f"a log density returned shape {values.shape} for {len(points)} points")
    bad = int((np.isnan(values) | (values == np.inf)).sum())
    if bad:
        raise NotAvailable(f"quadrature did not converge: the energy is not finite at {bad} of {len(points)} points")
    return values


@dataclass(frozen=True)
class Hints:
    """Points where the density is known to matter, (n, 2), and log p up to a constant there, (n,)."""

    points: np.ndarray
    values: np.ndarray

    @classmethod
    def none(cls) -> Hints:
        """No points."""
        return cls(np.empty((0, 2)), np.empty(0))

    def joined(self, *others: Hints) -> Hints:
        """These and the others."""
        every = (self, *others)
        return Hints(np.concatenate([h.points for h in every]), np.concatenate([h.values for h in every]))


def address(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """One integer per point (n, 2) of the square of the grid that it lies in, column·2³¹ + row; (n,).

    The grid is the one that ``cells`` (x, y, half-width), all of one size, are part of.
    """
    steps = np.rint((points - cells[:, :2].min(axis=0)) / (2 * cells[0, 2]))
    column, row = np.clip(steps, -1, 2**30).astype(np.int64).T + 1
    return np.asarray((column << 31) + row)


class Tracker:
    """Follows hints down from cells (x, y, half-width) to their children.

    Args:
        hints: the points; those outside all cells are dropped.
        cells: the cells to start from, (n, 3), part of one grid.
    """

    def __init__(self, hints: Hints, cells: np.ndarray) -> None:
        sought, offered = address(hints.points, cells), address(cells[:, :2], cells)
        order = np.argsort(offered)
        found = order[np.minimum(np.searchsorted(offered, sought, sorter=order), len(cells) - 1)]
        inside = offered[found] == sought
        self.points, self.values, self.where = hints.points[inside], hints.values[inside], found[inside]

    def descend(self, cells: np.ndarray) -> None:
        """From each cell to its child 2·(upper) + (right); the children of cell i are 4i, ..., 4i + 3."""
        right, upper = (self.points > cells[self.where, :2]).T
        self.where = 4 * self.where + 2 * upper + right

    def keep(self, kept: np.ndarray) -> None:
        """Keep the hints in the cells of a mask; the cells are numbered anew."""
        inside = kept[self.where]
        self.points, self.values = self.points[inside], self.values[inside]
        self.where = (np.cumsum(kept) - 1)[self.where[inside]]

    def overlooked(self, peaks: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """log of the most mass that each cell may have missed, (n,).

        Args:
            peaks: the largest log density among each cell's nodes.
            areas: the area of each cell.
        """
        highest = np.full(len(peaks), -np.inf)
        np.maximum.at(highest, self.where, self.values)
        return np.where(highest > peaks + OVERLOOKED, highest + np.log(areas), -np.inf)


def ridges(log_density: LogDensity, centre: np.ndarray, half_width: float) -> Hints:
    """The highest local maxima along three circles around the box of ``half_width``.

    A ridge such as that of E = x²/2, whose integral diverges, occupies ever less of ever larger boxes, until no node
    of a grid falls on it. Its log density, however, rises towards it from afar, and that can be followed.
    """
    return Hints.none().joined(*(_maxima_on_circle(log_density, centre, radius * half_width) for radius in RADII))


def _maxima_on_circle(log_density: LogDensity, centre: np.ndarray, radius: float) -> Hints:
    """The highest local maxima on one circle."""

    def on_circle(angles: np.ndarray) -> np.ndarray:
        return np.asarray(centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1))

    step = 2 * np.pi / POINTS
    angles = step * np.arange(POINTS)
    values = evaluate(log_density, on_circle(angles))
    maxima = np.flatnonzero((values >= np.roll(values, 1)) & (values >= np.roll(values, -1)))
    best = angles[maxima[np.argsort(-values[maxima], kind="stable")[:KEPT]]]
    for _ in range(ROUNDS):
        tried = best[:, None] + step * np.linspace(-1, 1, 7)
        values = evaluate(log_density, on_circle(tried.ravel())).reshape(tried.shape)
        best = tried[np.arange(len(best)), values.argmax(axis=1)]
        step /= 3
    return Hints(on_circle(best), evaluate(log_density, on_circle(best)))
