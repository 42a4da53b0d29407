"""Likelihoods on the plane, exact to 1e-4 nats: log Z by quadrature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.hints import Hints, LogDensity, evaluate, ridges
from ebmpipe.metrics.estimators.partition import Integrator, tiles
from ebmpipe.spec import DataSpec

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
    """

    moved_by_refinement: float
    moved_by_widening: float
    half_width: float
    nodes: int


def log_partition(
    log_unnormalised: LogDensity,
    centre: np.ndarray,
    half_width: float,
    hints: Hints | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = EVALUATIONS,
) -> tuple[float, PartitionInfo]:
    """log ∫ exp(log_unnormalised) over the plane, in nats.

    Integrates over a square box, then over square rings that each double its width, until the last two rings do not matter.
    Every box is refined where it needs to be.

    Args:
        log_unnormalised: (n, 2) -> (n,) nats; -inf where the density is zero.
        centre: centre of the first box, (2,).
        half_width: its half-width; about where the data are.
        hints: points that the grid may not overlook, such as data: peaks there are found however narrow they are.
        tolerance: bound on the move of log Z under refinement, and on that under widening.
        max_evaluations: when to give up.

    Raises:
        NotAvailable: if log Z does not settle: the density is improper, or too rough for the evaluations allowed.
    """
    if not (np.isfinite(centre).all() and 0 < half_width < np.inf):
        raise ValueError(f"no box has centre {centre} and half-width {half_width}")
    integrator = Integrator(log_unnormalised, max_evaluations)
    integrator.add(tiles(centre, half_width, CELLS), hints or Hints.none(), tolerance / 4)
    moves: list[float] = []
    while len(moves) < DOUBLINGS[0] or max(moves[-2:]) > tolerance / 4:
        if len(moves) == DOUBLINGS[1]:
            raise NotAvailable(
                f"quadrature did not converge: widening the box to ±{half_width:.1e} still moves log Z by {moves[-1]:.2g} nats; "
                "the energy is improper or nearly so"
            )
        # Eight cells per side of the doubled box; the inner sixteen are what has been integrated already.
        ring = tiles(centre, 2 * half_width, 8)
        ring = ring[(np.abs(ring[:, :2] - centre) > half_width).any(axis=1)]
        far = ridges(log_unnormalised, centre, half_width)
        moves.append(integrator.add(ring, far if hints is None else far.joined(hints), tolerance / 64))
        half_width *= 2
    if integrator.log_total == -np.inf:
        raise NotAvailable("quadrature did not converge: the density is zero everywhere")
    refinement = float(np.exp(integrator.log_error - integrator.log_total))
    if refinement > tolerance:  # possible only if an early, coarse sum was far too large
        raise NotAvailable(f"quadrature did not converge: refining the grid still moves log Z by {refinement:.2g} nats")
    return integrator.log_total, PartitionInfo(refinement, moves[-1], half_width, integrator.evaluations)


def density_grid(
    log_unnormalised: LogDensity, log_z: float, extent: tuple[float, float, float, float], n: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The normalised log density on an even grid, for figures.

    Args:
        log_unnormalised: (n, 2) -> (n,) nats.
        log_z: its log-partition.
        extent: left, right, bottom, top.
        n: points per side.

    Returns:
        ``grid_x`` (n,), ``grid_y`` (n,) and ``log_density`` (n, n), whose rows run along y.
    """
    left, right, bottom, top = extent
    x, y = np.linspace(left, right, n), np.linspace(bottom, top, n)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return x, y, evaluate(log_unnormalised, points).reshape(n, n) - log_z


def normalise(evaluation: Evaluation) -> tuple[float, np.ndarray]:
    """log Z of the run's energy and the normalised log density at the test points, (n,); computed once per evaluation.

    Raises:
        NotAvailable: if the run has no energy, or its integral does not converge.
    """
    energy = evaluation.log_unnormalised
    if energy is None:
        raise NotAvailable("the run has no energy")
    if "quadrature/log_z" not in evaluation.cache:
        # Samples are hints too: a peak that the model's own chains fell into counts, even one far from the data.
        found = [s for s in evaluation.samples.values() if s.ndim == 2 and np.isfinite(s).all()]
        points = np.concatenate([evaluation.test, *(s[:5_000] for s in found)]).astype(np.float64)
        values = evaluate(energy, points)
        low, high = evaluation.test.min(axis=0), evaluation.test.max(axis=0)
        log_z, _ = log_partition(energy, (low + high) / 2, 0.75 * float((high - low).max()), Hints(points, values))
        evaluation.cache["quadrature/log_z"] = np.array(log_z)
        evaluation.cache["quadrature/log_p_test"] = values[: len(evaluation.test)] - log_z
    return float(evaluation.cache["quadrature/log_z"]), evaluation.cache["quadrature/log_p_test"]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


class Quadrature(Metric):
    """Exact likelihoods on the plane."""

    name = "quadrature"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "nll": MetricInfo("nats", "lower", "negative log-likelihood per test example, log Z by quadrature"),
        "nll_gap": MetricInfo("nats", "lower", "KL divergence from the true density to the model, estimated on the test split"),
        "log_z": MetricInfo("nats", None, "log-partition of exp(-E) by quadrature"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "images" and spec.shape == (2,)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        log_z, log_p = normalise(evaluation)
        n = len(log_p)
        yield self.measured("log_z", log_z)
        if not np.isfinite(log_p).all():
            reason = f"the model gives zero density to {int((~np.isfinite(log_p)).sum())} of {n} test examples"
            yield from (self.missing(metric, reason) for metric in ("nll", "nll_gap"))
            return
        mean, error = mean_and_error(-log_p)
        yield self.measured("nll", mean, n, error)
        if evaluation.density is None:
            yield self.missing("nll_gap", "the true density is unknown")
            return
        # Paired with the test examples' own log p_true: the spread of log p itself cancels.
        mean, error = mean_and_error(evaluation.density.log_density(evaluation.test) - log_p)
        yield self.measured("nll_gap", mean, n, error)
