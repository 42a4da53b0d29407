"""Precision and recall: are samples where data are, and data where samples are?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo
from ebmpipe.metrics.estimators.balls import centred, coverings, mean_and_error, squared_radii
from ebmpipe.metrics.estimators.feature_metric import PrimaryMetric, both_sides, protocol

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace

#: A ball about a feature vector reaches to this many of its neighbours.
NEIGHBOURS = 3


def share_inside(points: np.ndarray, centres: np.ndarray, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Share of ``points`` (m, d) that lie in a ball about some of ``centres`` (n, d), and its standard error.

    The balls are closed and reach to the ``k``-th nearest other centre.
    """
    points, centres, tie = centred(points, centres)
    inside = coverings(centres, points, squared_radii(centres, k) + tie) > 0
    return mean_and_error(inside[0], inside[1:])


class PrecisionRecall(PrimaryMetric):
    """Precision and recall of Kynkäänniemi et al. (2019) in the primary feature space."""

    name = "precision_recall"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "precision": MetricInfo("share", "higher", "share of samples within the 3-neighbour balls of test examples"),
        "recall": MetricInfo("share", "higher", "share of test examples within the 3-neighbour balls of samples"),
    }

    def within(self, samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> Iterator[Measurement]:
        x, y = (side.rows for side in both_sides(samples, evaluation, space))
        for metric, points, centres in (("precision", x, y), ("recall", y, x)):
            value, error = share_inside(points, centres)
            yield self.measured(metric, value, len(x), error, protocol(space, len(x)))
