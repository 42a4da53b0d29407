"""Likelihoods on the plane, exact to 1e-4 nats: log Z by quadrature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.hints import Hints, LogDensity, evaluate
from ebmpipe.metrics.estimators.partition import FixedGrid, log_partition
from ebmpipe.spec import DataSpec

__all__ = ["FixedGrid", "Quadrature", "box_about", "density_grid", "log_partition", "normalise"]


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


def box_about(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and half-width of a square that holds ``points`` with a margin of a quarter of their extent or more.

    Both are round in binary, hence so are the borders of all cells: a density with edges at round numbers has them between cells.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    half_width = float(2.0 ** np.ceil(np.log2(0.75 * max((high - low).max(), 1e-9))))
    return np.round((low + high) / half_width * 4) / 8 * half_width, half_width


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
        log_z, _ = log_partition(energy, *box_about(evaluation.test), Hints(points, values))
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
        "nll": MetricInfo("nats", "lower", "negative log-likelihood per test example"),
        "nll_gap": MetricInfo("nats", "lower", "KL divergence from the true law to the model, of densities estimated on the test split"),
        "log_z": MetricInfo("nats", None, "log-partition of exp(-E)"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind in ("density", "vectors") and spec.shape == (2,)

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
        log_p_true = evaluation.density.log_density(evaluation.test)
        if not np.isfinite(log_p_true).all():  # rounding may carry an example over the edge of a bounded support
            yield self.missing("nll_gap", f"the true density is zero at {int((~np.isfinite(log_p_true)).sum())} of {n} test examples")
            return
        # Paired: the spread of log p over examples, which is most of that of nll, cancels.
        mean, error = mean_and_error(log_p_true - log_p)
        yield self.measured("nll_gap", mean, n, error)
