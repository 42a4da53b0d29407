"""What becomes of energy and samples along long chains: whether an energy holds for longer than it was trained with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.annealing import energies_of
from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.energy_distance import EnergyDistance
from ebmpipe.metrics.kernel_distance import KernelDistance
from ebmpipe.metrics.mixing import long_run_of
from ebmpipe.spec import DataSpec

#: Most test examples whose mean energy is compared.
EXAMPLES = 20_000


@dataclass(frozen=True)
class Quality:
    """A distance to the test split at every frame of a long run, unbiased: near 0, perhaps below, for chains of the data's law.

    Attributes:
        metric: id of the distance.
        values: at every frame, (frames,).
        errors: their standard errors, likewise.
    """

    metric: str
    values: np.ndarray
    errors: np.ndarray


def quality_along(evaluation: Evaluation, kernel: str | None = None) -> list[Quality]:
    """The distances along the chains of a kernel: between features of the primary network, if there is one, and between events.

    Computed once for metrics and figures.

    Args:
        evaluation: what is evaluated.
        kernel: one of `LongRun.framed`; None for the primary one.

    Raises:
        NotAvailable: if there is no long run, or its chains were lost where they started.
    """
    record = long_run_of(evaluation)
    name = record.primary.about["name"] if kernel is None else kernel
    key = f"long_run/quality/{name}"
    if key not in evaluation.cache:
        frames = record.framed[name][1]
        if not len(frames):
            raise NotAvailable(f"the chains diverged: {record.kernels[name].lost}")
        found = []
        if evaluation.feature_spaces:
            rows = [next(iter(KernelDistance().within(frame, evaluation, evaluation.feature_spaces[0]))) for frame in frames]
            found.append(along(rows))
        found.append(along([next(iter(EnergyDistance().compare(frame, evaluation))) for frame in frames]))
        evaluation.cache[key] = found
    kept: list[Quality] = evaluation.cache[key]
    return kept


def along(rows: list[Measurement]) -> Quality:
    """One distance of every frame."""
    values, errors = (np.array([getattr(row, key) for row in rows], dtype=np.float64) for key in ("value", "stderr"))
    return Quality(rows[0].metric, values, errors)


#: Ids of how samples fare along the chains.
QUALITY = ("quality_best_step", "quality_decay")


class LongRuns(Metric):
    """Energy and sample quality along the chains of the primary kernel, from their start to their end; ``@kernel`` of latent ones."""

    name = "long_run"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {
        "energy_drift": MetricInfo(
            "sd of test energies", None, "mean energy of the chains at their end less that of test data, smoothed as the energy allows for"
        ),
        "quality_best_step": MetricInfo("steps", None, "frame of the long run at which samples are nearest to the test split"),
        "quality_decay": MetricInfo(
            "MMD² or data units", None, "distance to the test split at the end of the long run less that at its best frame"
        ),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Every id of the primary kernel, and quality of the others whose chains were kept."""
        found = evaluation.long_run
        others = [] if found is None else list(found.framed)[1:]
        return (*self.ids, *(f"{metric}@{kernel}" for kernel in others for metric in QUALITY))

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        found = long_run_of(evaluation)
        if found.primary.lost is None:
            yield self.drift(evaluation, found.frame_energies[-1].astype(np.float64))
        else:
            yield self.missing("energy_drift", f"the chains diverged: {found.primary.lost}")
        for place, kernel in enumerate(found.framed):
            rows = self.quality(evaluation, kernel)
            yield from rows if place == 0 else (row.at(kernel) for row in rows)

    def quality(self, evaluation: Evaluation, kernel: str) -> Iterator[Measurement]:
        """When the chains of a kernel are nearest to the test split, and how much of that is lost by their end."""
        found = long_run_of(evaluation)
        try:
            quality = quality_along(evaluation, kernel)[0]
        except NotAvailable as reason:
            yield from (self.missing(metric, reason) for metric in QUALITY)
            return
        chains, steps = int(found.kernels[kernel].about["chains"]), found.framed[kernel][0]
        best = int(quality.values.argmin())
        protocol = f"{quality.metric} of {chains} chains at {len(quality.values)} frames, log-spaced over {steps[-1]:,} steps"
        yield self.measured("quality_best_step", float(steps[best]), chains, protocol=protocol)
        error = 0.0 if best == len(quality.values) - 1 else float(np.hypot(quality.errors[best], quality.errors[-1]))
        yield self.measured("quality_decay", quality.values[-1] - quality.values[best], chains, error, protocol)

    def drift(self, evaluation: Evaluation, last: np.ndarray) -> Measurement:
        """How far the chains' energy ended from that of data, with the standard error of both means."""
        assert evaluation.log_unnormalised is not None
        n = min(len(evaluation.test), EXAMPLES)
        part_of = evaluation.smoothed or evaluation.test.__getitem__
        data = -energies_of(evaluation.log_unnormalised, part_of, n)
        if not np.isfinite(data).all():
            return self.missing("energy_drift", "the model gives zero density to some test examples")
        spread = float(data.std(ddof=1))
        if not spread > 0:
            return self.missing("energy_drift", "all test examples have one energy")
        error = float(np.hypot(last.std(ddof=1) / np.sqrt(len(last)), spread / np.sqrt(n)))
        return self.measured("energy_drift", (last.mean() - data.mean()) / spread, len(last), error / spread)
