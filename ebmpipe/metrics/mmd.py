"""Maximum mean discrepancy with a mixture of Gaussian kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Events, Measurement, MetricInfo, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked, pixel_protocol, subsample, test_examples
from ebmpipe.metrics.estimators.distances import squared_distances
from ebmpipe.metrics.estimators.two_sample import Kernel, gram, kept_gram, squared_mmd
from ebmpipe.spec import DataSpec

#: Most samples, and most test examples.
LIMIT = 5_000

#: Test examples behind the median distance.
MEDIAN_OF = 1_000

#: Widest kernel of the mixture in units of the median distance, and number of kernels; each is half as wide as the last.
WIDEST, KERNELS = 2.0, 5


def median_distance(x: Events) -> float:
    """Median distance between two of `MEDIAN_OF` events ``x``, flattened, evenly spaced: no randomness, so equal for all runs."""
    x = x[np.linspace(0, len(x) - 1, min(len(x), MEDIAN_OF)).astype(int)]
    x = x.reshape(len(x), -1)
    return float(np.sqrt(np.median(squared_distances(x, x)[np.triu_indices(len(x), 1)])))


def gaussian_mixture(median: float) -> Kernel:
    """The mean of Gaussian kernels of widths 2, 1, ½, ¼ and ⅛ times ``median``; k(x, x) = 1."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # Half the width is the fourth power: one exponential serves all widths.
        power = np.exp(squared_distances(x, y) / (-2 * (WIDEST * median) ** 2))
        total = power.copy()
        for _ in range(KERNELS - 1):
            np.square(power, out=power)
            np.square(power, out=power)
            total += power
        total /= KERNELS
        return total

    return kernel


def squared_distance(x: np.ndarray, y: np.ndarray, median: float, cache: dict[str, np.ndarray], family: str = "mmd") -> tuple[float, float]:
    """Unbiased squared MMD between samples and examples, and its standard error.

    Args:
        x: samples (m, *event), finite.
        y: examples (n, *event).
        median: the `median_distance` that gives the kernels their widths, > 0.
        cache: keeps what is of ``y`` alone, so that it serves one ``y`` and ``median`` only.
        family: what its keys start with.
    """
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    # A shift changes no distance, but keeps the differences of squares accurate where the data are far from 0.
    x, y = x - y.mean(axis=0), y - y.mean(axis=0)
    kernel = gaussian_mixture(median)
    within = kept_gram(kernel, y, cache, family)
    return squared_mmd(gram(kernel, x), within, gram(kernel, x, y))


class MMD(SampleMetric):
    """Unbiased squared MMD (Gretton et al. 2012) between samples and test split, on flattened events."""

    name = "mmd"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {
        "mmd": MetricInfo("MMD²", "lower", "squared maximum mean discrepancy to the test split, unbiased, five Gaussian kernels"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return True

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        rng = evaluation.rng(self.name)
        x = subsample(checked(samples, evaluation.test), LIMIT, rng)
        y = test_examples(evaluation, LIMIT)
        median = median_distance(evaluation.test)
        if not median > 0:
            raise NotAvailable("the test examples are all alike")
        value, error = squared_distance(x, y, median, evaluation.cache, self.name)
        yield self.measured("mmd", value, len(x), error, pixel_protocol(evaluation, len(x), len(y)))
