"""How samples are spread over the modes of a known density."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.data.base import Density

#: Share of the true mass that belongs to no mode: where the density is lowest.
NOWHERE = 0.01

#: Exact samples behind the density's level there; the share is then known to 0.0002.
EXACT = 200_000

#: A mode is found by samples that hold this share of its mass.
FOUND = 0.5

#: Resamples behind the standard error.
RESAMPLES = 1_000


def level(density: Density) -> tuple[float, float]:
    """log p below which a point belongs to no mode, and the true mass below it.

    That is `NOWHERE`, or nothing where the density takes one value only: then everything inside its support belongs to a mode.
    """
    log_p = density.log_density(density.sample(EXACT, numpy_generator(0, "modes", density.name)))
    bound = float(np.quantile(log_p, NOWHERE))
    return bound, float((log_p < bound).mean())


def cells(x: np.ndarray, density: Density, bound: float) -> np.ndarray:
    """The mode that each of ``x`` (n, 2) belongs to: the nearest, or k, for none, where log p is below ``bound``; (n,)."""
    assert density.modes is not None
    nearest = ((x[:, None] - density.modes) ** 2).sum(axis=2).argmin(axis=1)
    return np.where(density.log_density(x) < bound, len(density.modes), nearest)


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """½ Σ |p - q| over the last axis."""
    return np.asarray(np.abs(p - q).sum(axis=-1) / 2)


def expected_error(truth: np.ndarray, n: int) -> float:
    """Mean total variation between ``truth`` and the shares that ``n`` independent samples of it have: what no model can undercut.

    Exact. A count is binomial, and its mean absolute deviation is 2 m (n choose m) p^m (1 - p)^(n - m + 1), m = ⌊np⌋ + 1 (de Moivre 1730).
    """
    from scipy.stats import binom

    m = np.floor(n * truth) + 1
    return float((m * binom.pmf(m, n, truth) * (1 - truth)).sum() / n)


class Modes(SampleMetric):
    """Modes found, and the error of their weights, for densities whose modes have equal weights and nearness tells them apart."""

    name = "modes"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "modes_found": MetricInfo("modes", "higher", "modes of the true density that hold at least half of their share of the samples"),
        "mode_weight_error": MetricInfo(
            "probability", "lower", "total variation between shares of the samples and true mass over modes and what belongs to none"
        ),
    }

    def applies(self, spec: DataSpec) -> bool:
        known = registry.names("data")
        return spec.kind == "density" and (spec.name not in known or registry.load("data", spec.name).modes is not None)

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        x, density = checked(samples, evaluation.test), evaluation.density
        if density is None:
            raise NotAvailable("the true density is unknown")
        if density.modes is None:
            raise NotAvailable(f"{evaluation.spec.name} has no modes that nearness would tell apart")
        if "modes/level" not in evaluation.cache:
            evaluation.cache["modes/level"] = np.array(level(density))
        bound, outside = evaluation.cache["modes/level"]
        k, n = len(density.modes), len(x)
        truth = np.append(np.full(k, (1 - outside) / k), outside)
        shares = np.bincount(cells(x, density, bound), minlength=k + 1) / n
        yield self.measured("modes_found", float((shares[:k] >= FOUND * truth[:k]).sum()), n)
        resampled = evaluation.rng(self.name).multinomial(n, shares, size=RESAMPLES) / n
        error = float(total_variation(resampled, truth).std(ddof=1))
        yield self.measured("mode_weight_error", float(total_variation(shares, truth)), n, error)
