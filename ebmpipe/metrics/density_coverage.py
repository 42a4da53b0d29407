"""Density and coverage: precision and recall in which a stray test example or a stray sample counts for little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo
from ebmpipe.metrics.estimators.balls import centred, coverings, mean_and_error, nearest_points, squared_radii
from ebmpipe.metrics.estimators.feature_metric import PrimaryMetric, both_sides, protocol

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace

#: A ball about a test example reaches to this many of its neighbours.
NEIGHBOURS = 5


def density_and_coverage(x: np.ndarray, y: np.ndarray, k: int = NEIGHBOURS) -> tuple[tuple[float, float], tuple[float, float]]:
    """Density and coverage of the samples ``x`` (m, d) among the test examples ``y`` (n, d), each with its standard error.

    The balls about test examples are open and reach to the ``k``-th nearest other one.
    """
    x, y, tie = centred(x, y)
    radii = squared_radii(y, k) - tie
    density, nearest = coverings(y, x, radii) / k, nearest_points(y, x)
    covered = nearest <= radii[0]
    return mean_and_error(density[0], density[1:]), mean_and_error(covered[0], covered[1:], nearest[0] <= radii[1:])


class DensityCoverage(PrimaryMetric):
    """Density and coverage of Naeem et al. (2020) in the primary feature space."""

    name = "density_coverage"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "density": MetricInfo("ratio", "higher", "5-neighbour balls of test examples that a sample lies in, relative to 5"),
        "coverage": MetricInfo("share", "higher", "share of test examples whose 5-neighbour ball holds a sample"),
    }

    def within(self, samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> Iterator[Measurement]:
        x, y = (side.rows for side in both_sides(samples, evaluation, space))
        for metric, (value, error) in zip(self.ids, density_and_coverage(x, y), strict=True):
            yield self.measured(metric, value, len(x), error, protocol(space, len(x)))
