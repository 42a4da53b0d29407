"""log Z of a density on the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.cells import Grid, Integrator, log_sum, nodes_of, ring, tiles
from ebmpipe.metrics.estimators.hints import Hints, LogDensity, evaluate, ridges

#: log Z may move by less than this, in nats, when the box is widened, and likewise when the grid is refined.
TOLERANCE = 1e-4

#: Cells per side of the box around the data, before any refinement.
CELLS = 16

#: The box is doubled at least so often, lest a mode beyond a gap go unseen, and at most so often.
DOUBLINGS = (4, 20)

#: Most evaluations of the energy per model. Smooth models need about 150,000.
EVALUATIONS = 3_000_000


@dataclass(frozen=True)
class PartitionInfo:
    """How far log Z can be trusted, and what it took.

    Attributes:
        moved_by_refinement: bound on what the last refinement of the grid changed, nats.
        moved_by_widening: what the last doubling of the box changed, nats.
        half_width: half-width of the last box.
        nodes: points of all grids together.
        grid: those of the last refinement, whose weighted sum is Z.
    """

    moved_by_refinement: float
    moved_by_widening: float
    half_width: float
    nodes: int
    grid: Grid


def log_partition(
    log_unnormalised: LogDensity,
    centre: Sequence[float] | np.ndarray = (0.0, 0.0),
    half_width: float = 8.0,
    hints: Hints | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = EVALUATIONS,
) -> tuple[float, PartitionInfo]:
    """log ∫ exp(log_unnormalised) over the plane, in nats.

    Integrates over a square box, then over square rings that each double its width, until the last two rings do not matter.
    Box and rings are refined where they need to be.

    Args:
        log_unnormalised: (n, 2) -> (n,) nats; -inf where the density is zero.
        centre: centre of the first box.
        half_width: its half-width; about where the data are.
        hints: points that the grid may not overlook, such as data: peaks there are found however narrow they are.
        tolerance: bound on the move of log Z under refinement, and on that under widening.
        max_evaluations: when to give up.

    Raises:
        NotAvailable: if log Z does not settle: the density is improper, or too rough for the evaluations allowed.
    """
    centre = np.asarray(centre, dtype=np.float64)
    if not (centre.shape == (2,) and np.isfinite(centre).all() and 0 < half_width < np.inf):
        raise ValueError(f"no box has centre {centre} and half-width {half_width}")
    # A node that falls on a narrow peak can make an early sum far too large, and cells settled by that measure too coarse. Then
    # once more, more strictly.
    refinement = np.inf
    for allowance in (tolerance / 4, tolerance / 64, tolerance / 1024):
        integrator = Integrator(log_unnormalised, max_evaluations)
        moved, reached = _integrate(integrator, centre, half_width, hints or Hints.none(), tolerance, allowance)
        refinement = float(np.exp(integrator.log_error - integrator.log_total))
        if refinement < tolerance:
            grid = Grid.joined(integrator.grids)
            return integrator.log_total, PartitionInfo(refinement, moved, reached, integrator.evaluations, grid)
    raise NotAvailable(f"quadrature did not converge: refining the grid still moves log Z by {refinement:.2g} nats")


def _integrate(
    integrator: Integrator, centre: np.ndarray, half_width: float, hints: Hints, tolerance: float, allowance: float
) -> tuple[float, float]:
    """Integrate over the box and as many rings as matter; returns the move by the last ring and the half-width reached."""
    integrator.add(tiles(centre, half_width, CELLS), hints, allowance)
    moves: list[float] = []
    while len(moves) < DOUBLINGS[0] or max(moves[-2:]) > tolerance / 4:
        if len(moves) == DOUBLINGS[1]:
            raise NotAvailable(
                f"quadrature did not converge: widening the box to ±{half_width:.1e} still moves log Z by {moves[-1]:.2g} nats; "
                "the energy is improper or nearly so"
            )
        far = ridges(integrator.log_density, centre, half_width)
        # Eight cells per side of the doubled box; the inner sixteen are what has been integrated already.
        moves.append(integrator.add(ring(centre, half_width, 8), hints.joined(far), allowance / 16))
        half_width *= 2
    if integrator.log_total == -np.inf:
        raise NotAvailable("quadrature did not converge: the density is zero everywhere")
    return moves[-1], half_width


class FixedGrid:
    """log Z by one grid that is made once and never refined: for energies that are asked again and again while they change.

    The box is tiled as `log_partition` tiles it at first, and rings about it that each double its width are tiled as its rings are. A
    smooth density, some of whose mass is within the last ring, is integrated to 1e-3 nats or better at a tenth of the evaluations; of the
    narrow peaks and far modes that `log_partition` looks for it knows nothing.

    Attributes:
        nodes: where it evaluates the density, (n, 2).

    Args:
        centre: centre of the box.
        half_width: its half-width; about where the data are.
        per_side: cells per side of the box, a multiple of eight: so that cells twice as wide have a border where the box ends.
        rings: rings about it.

    Raises:
        ValueError: if ``per_side`` is none.
    """

    def __init__(self, centre: np.ndarray, half_width: float, per_side: int = CELLS, rings: int = 2) -> None:
        if per_side % 8:
            raise ValueError(f"{per_side} cells per side are not a multiple of eight")
        parts = [tiles(centre, half_width, per_side)]
        parts += [ring(centre, half_width * 2**index, per_side // 2) for index in range(rings)]
        self._cells = np.concatenate(parts)
        self.nodes = nodes_of(self._cells)

    def log_partition(self, log_unnormalised: LogDensity) -> float:
        """log ∫ exp(log_unnormalised) over box and rings, in nats; -inf of a density that is zero there.

        Raises:
            NotAvailable: if a value is NaN or +inf.
        """
        grid = Grid.of(self._cells, evaluate(log_unnormalised, self.nodes))
        return float(log_sum(grid.log_weights + grid.values))
