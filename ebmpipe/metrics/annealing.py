"""Likelihoods in any dimension: log Z by annealing from both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import log, log2
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.quadrature import Quadrature, mean_and_error
from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.partition.bracket import Bracket

#: What the way back from inexact samples leads to.
NO_BOUND = "nats (not a bound)"
#: Test examples per call of the energy.
CHUNK = 4096
ESTIMATES = ("forward", "backward", "smc", "importance")


class Annealing(Metric):
    """log Z by annealed importance sampling forward and back, sequential Monte Carlo and importance sampling; on images, likelihoods."""

    name = "annealing"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "nll": Quadrature.ids["nll"],
        "log_z": Quadrature.ids["log_z"],
        "log_z_lower": MetricInfo("nats", None, "forward annealed importance sampling less two standard errors"),
        "log_z_upper": MetricInfo("nats", None, "backward annealed importance sampling and two standard errors"),
        "nll_lower": MetricInfo("nats", None, "nll at the optimistic end of log Z"),
        "nll_upper": MetricInfo("nats", None, "nll at the pessimistic end of log Z"),
        "bits_per_dim": MetricInfo("bits", "lower", "nll of the levels per pixel and channel, at the pessimistic end of log Z"),
        "bits_per_dim_lower": MetricInfo("bits", None, "bits per dimension at the optimistic end of log Z"),
        "bits_per_dim_upper": MetricInfo("bits", None, "bits per dimension at the pessimistic end of log Z"),
        "effective_weights": MetricInfo("fraction", None, "effective sample size of the weights, as a fraction of their number"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Bare ids, but for those of weights and estimates; in two dimensions none, where log Z is known by quadrature."""
        names = [f"{metric}@{source}" for source in ESTIMATES for metric in ("log_z", "effective_weights")]
        if evaluation.spec.shape == (2,):
            return (*names, "log_z_lower", "log_z_upper")
        likelihoods = ("log_z", "log_z_lower", "log_z_upper", "nll", "nll_lower", "nll_upper")
        bits = ("bits_per_dim", "bits_per_dim_lower", "bits_per_dim_upper") if evaluation.spec.levels is not None else ()
        smoothed = ("nll@smoothed",) if evaluation.smoothed is not None else ()
        return (*names, *likelihoods, *bits, *smoothed)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.log_unnormalised is None:
            raise NotAvailable("the run has no energy")
        if evaluation.bracket is None:
            raise NotAvailable("improper: the energy declares neither a base that it tilts nor a box that it lives on")
        found = evaluation.bracket()
        for source, estimate in found.estimates.items():
            count = len(estimate.repeats)
            row = self.measured("log_z", estimate.log_z, count, estimate.stderr).at(source)
            yield row if source != "backward" or found.exact else renamed(row, NO_BOUND)
            yield self.measured("effective_weights", estimate.ess, count).at(source)
        for metric, value in (("log_z_lower", found.lower), ("log_z_upper", found.upper)):
            row = self.measured(metric, value)
            yield row if metric == "log_z_lower" or found.exact else renamed(row, NO_BOUND)
        if evaluation.spec.shape != (2,):
            yield self.measured("log_z", found.forward.log_z, len(found.forward.repeats), found.forward.stderr)
            yield from self.likelihoods(found, evaluation)

    def likelihoods(self, found: Bracket, evaluation: Evaluation) -> Iterator[Measurement]:
        """Those of the test split, claimed at the end of log Z that makes them worse; intervals where the ends are far apart."""
        assert evaluation.log_unnormalised is not None
        energies = -energies_of(evaluation.log_unnormalised, evaluation.test.__getitem__, len(evaluation.test))
        if lost := int((~np.isfinite(energies)).sum()):
            reason = f"the model gives zero density to {lost} of {len(energies)} test examples"
            yield from (self.missing(metric, reason) for metric in self.reports(evaluation) if metric.startswith(("nll", "bits")))
            return
        mean, error = mean_and_error(energies)
        optimistic, pessimistic = (mean + end for end in found.extremes)
        wide = (pessimistic - optimistic) / (evaluation.spec.dimension * log(2)) > found.widest
        if found.levels:
            protocol = f"log Z by annealing from {found.base} and back from {found.starts}, {'' if found.exact else 'no '}bound above"
        else:
            protocol = f"log Z = 0: the energy is that of {found.base}"
        yield from self.claimed("nll", (optimistic, pessimistic), len(energies), error, wide, protocol)
        if evaluation.spec.levels is not None:
            scale, shift = 1 / (evaluation.spec.dimension * log(2)), log2(evaluation.spec.levels / 2)
            ends = (optimistic * scale + shift, pessimistic * scale + shift)
            protocol += f"; {evaluation.spec.levels} levels, uniformly dequantised into [-1, 1)"
            yield from self.claimed("bits_per_dim", ends, len(energies), error * scale, wide, protocol)
        if evaluation.smoothed is not None:
            mean, error = mean_and_error(-energies_of(evaluation.log_unnormalised, evaluation.smoothed, len(energies)))
            yield self.measured("nll", mean + found.extremes[1], len(energies), error).at("smoothed")

    def claimed(self, metric: str, ends: tuple[float, float], n: int, error: float, wide: bool, protocol: str) -> Iterator[Measurement]:
        """A likelihood and its two ends; where they are too far apart, an interval in place of a number."""
        for end, value in zip(("lower", "upper"), ends, strict=True):
            yield self.measured(f"{metric}_{end}", value, n, error)
        if wide:
            said = f"interval: {ends[0]:.6g} to {ends[1]:.6g}"
            yield Measurement(metric, None, self.ids[metric].unit, n, status=said, protocol=protocol)
        else:
            yield replace(self.measured(metric, ends[1], n, error), protocol=protocol)


def renamed(row: Measurement, unit: str) -> Measurement:
    """``row`` in another unit, which says what it is not."""
    return replace(row, unit=unit)


def energies_of(log_unnormalised: Callable[[np.ndarray], np.ndarray], part_of: Callable[[slice], np.ndarray], n: int) -> np.ndarray:
    """-E of ``n`` examples that are made in parts, (n,)."""
    return np.concatenate([log_unnormalised(np.asarray(part_of(part))) for part in chunks(n, CHUNK)])
