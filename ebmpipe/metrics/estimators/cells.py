"""Integrals of a density over parts of the plane by adaptive Gauss-Legendre quadrature on square cells, in logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.hints import CHUNK, Hints, LogDensity, Tracker, address, evaluate

#: Nodes per side of a cell. The rule is exact for polynomials of degree 15 in each coordinate.
ORDER = 8
_nodes, _weights = np.polynomial.legendre.leggauss(ORDER)
NODES = np.stack(np.meshgrid(_nodes, _nodes), axis=-1).reshape(-1, 2)
WEIGHTS = np.outer(_weights, _weights).ravel()

#: Centres of a cell's four children in units of their half-width.
CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])


def log_sum(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """log Σ exp, where log 0 = -inf."""
    return np.asarray(np.logaddexp.reduce(values, axis=axis))


def relative(log_values: np.ndarray, log_total: float) -> np.ndarray:
    """exp(log_values - log_total), capped far above anything that could still be tolerated."""
    return np.exp(np.minimum(log_values - log_total, 50.0))


def tiles(centre: np.ndarray, half_width: float, per_side: int) -> np.ndarray:
    """Square cells (x, y, half-width), ``per_side``² of them, that tile the box about ``centre``."""
    half = half_width / per_side
    ticks = half * (2 * np.arange(per_side) + 1 - per_side)
    x, y = np.meshgrid(centre[0] + ticks, centre[1] + ticks)
    return np.stack([x.ravel(), y.ravel(), np.full(per_side**2, half)], axis=1)


def ring(centre: np.ndarray, half_width: float, per_side: int) -> np.ndarray:
    """Those of the ``per_side``² `tiles` of the box twice as wide that lie outside the box of ``half_width`` about ``centre``."""
    cells = tiles(centre, 2 * half_width, per_side)
    return np.asarray(cells[(np.abs(cells[:, :2] - centre) > half_width).any(axis=1)])


def nodes_of(cells: np.ndarray) -> np.ndarray:
    """The nodes of ``cells`` (n, 3), one cell after the other, (n * nodes of a cell, 2)."""
    return np.asarray(cells[:, None, :2] + cells[:, None, 2:] * NODES).reshape(-1, 2)


def split(cells: np.ndarray) -> np.ndarray:
    """The four children of each cell; those of cell i are 4i, ..., 4i + 3."""
    children = np.repeat(cells, 4, axis=0)
    children[:, 2] /= 2
    children[:, :2] += children[:, 2:] * np.tile(CORNERS, (len(cells), 1))
    return children


def beside(cells: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mask of the cells that are among ``chosen`` (a mask) or touch one of them; the cells are part of one grid, (n,)."""
    key = address(cells[:, :2], cells)
    around = [(right << 31) + up for right in (-1, 0, 1) for up in (-1, 0, 1)]
    return np.isin(key, (key[chosen, None] + around).ravel())


@dataclass(frozen=True)
class Grid:
    """Nodes of a quadrature: ∫ f ≈ Σ exp(log_weights) f. ``values`` (n,) are the log density there, ``log_weights`` (n,)."""

    log_weights: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, cells: np.ndarray, values: np.ndarray) -> Grid:
        """The nodes of ``cells`` (n, 3), with the log density there, (n, nodes of a cell)."""
        return cls((np.log(WEIGHTS) + 2 * np.log(cells[:, 2:])).ravel(), values.ravel())

    @classmethod
    def joined(cls, grids: Sequence[Grid]) -> Grid:
        """All nodes of grids that do not overlap."""
        return cls(np.concatenate([grid.log_weights for grid in grids]), np.concatenate([grid.values for grid in grids]))


class Integrator:
    """Adds up integrals of exp(log_density) over sets of cells, refining each set until its sum stands still.

    Attributes:
        log_total: log of the sum so far.
        log_error: log of a bound on its error.
        evaluations: how often the density has been evaluated.
        grids: the nodes of all cells whose integrals make up the sum.

    Args:
        log_density: log p up to a constant.
        limit: most evaluations before it gives up.
    """

    def __init__(self, log_density: LogDensity, limit: int) -> None:
        self.log_density, self.limit = log_density, limit
        self.log_total = self.log_error = -np.inf
        self.evaluations = 0
        self.grids: list[Grid] = []

    def add(self, cells: np.ndarray, hints: Hints, tolerance: float) -> float:
        """Add the integral over ``cells``, (n, 3); returns how far that moved log Z.

        A cell gives way to its children until they agree with it, and no hint shows that all of them miss a peak. It is
        the children's sum that counts, so that ``tolerance``, which bounds the sum of all disagreements relative to Z,
        is far above the error.
        """
        before, settled = self.log_total, -np.inf
        tracker = Tracker(hints, cells)
        parents, _, _ = self._cell_integrals(cells)
        while len(cells):
            children = split(cells)
            integrals, peaks, values = self._cell_integrals(children)
            sums = log_sum(integrals.reshape(-1, 4), axis=1)
            tracker.descend(cells)
            missed = log_sum(tracker.overlooked(peaks, (2 * children[:, 2]) ** 2).reshape(-1, 4), axis=1)
            total = float(log_sum(np.array([self.log_total, settled, *sums])))
            if total == -np.inf:  # nothing found yet; is there a hint of anything?
                total = float(log_sum(missed))
            if total == -np.inf:
                break
            disagreement = np.abs(relative(sums, total) - relative(parents, total)) + relative(missed, total)
            # Settle the cells that disagree least, for half of what is left of the allowance; look closer at the others,
            # and at those beside them: a peak on the border may be visible from one side only.
            order = np.argsort(disagreement, kind="stable")
            open_ = np.ones(len(cells), dtype=bool)
            open_[order[: np.searchsorted(np.cumsum(disagreement[order]), tolerance / 2, side="right")]] = False
            open_ = beside(cells, open_)
            if not open_.all():
                spent = float(disagreement[~open_].sum())
                tolerance -= spent
                settled = float(np.logaddexp(settled, log_sum(sums[~open_])))
                with np.errstate(divide="ignore"):
                    self.log_error = float(np.logaddexp(self.log_error, total + np.log(spent)))
            rest = np.repeat(open_, 4)
            self.grids.append(Grid.of(children[~rest], values[~rest]))
            tracker.keep(rest)
            cells, parents = children[rest], integrals[rest]
        self.log_total = float(np.logaddexp(before, settled))
        return self.log_total - before if settled > -np.inf else 0.0

    def _cell_integrals(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log of the integral over each cell and the largest log density among its nodes, both (n,); the log densities, (n, nodes)."""
        self.evaluations += len(cells) * len(NODES)
        if self.evaluations > self.limit:
            raise NotAvailable(f"quadrature did not converge: {self.limit:,} evaluations do not resolve the density")
        integrals, peaks, found = np.empty(len(cells)), np.empty(len(cells)), np.empty((len(cells), len(NODES)))
        for part in chunks(len(cells), CHUNK // len(NODES)):
            found[part] = values = evaluate(self.log_density, nodes_of(cells[part])).reshape(-1, len(NODES))
            peaks[part] = values.max(axis=1)
            shift = np.where(np.isfinite(peaks[part]), peaks[part], 0.0)
            with np.errstate(divide="ignore"):
                integrals[part] = shift + np.log(np.exp(values - shift[:, None]) @ WEIGHTS) + 2 * np.log(cells[part, 2])
        return integrals, peaks, found
