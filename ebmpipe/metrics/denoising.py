"""Test examples with Gaussian noise, restored by sampling the energy given what was observed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.restored import RestorationMetric, image_ids
from ebmpipe.metrics.estimators.true_posterior import denoising_mean
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.restoration.restored import Restored


class Denoising(RestorationMetric):
    """How near the posterior mean comes to the test image; in the plane, to the posterior mean of the true density."""

    name = "denoising"
    revision = 1
    task = "denoising"
    baseline = "observed"
    plane = "denoising_excess_mse"
    ids: ClassVar[dict[str, MetricInfo]] = {
        **image_ids("denoising"),
        "denoising_excess_mse": MetricInfo(
            "data units²", "lower", "mean squared error of the posterior mean beyond that of the best estimate, in the plane"
        ),
    }

    def without_model(self, found: Restored, evaluation: Evaluation) -> np.ndarray:
        """What was observed."""
        return found.observed

    def in_the_plane(self, found: Restored, evaluation: Evaluation) -> Iterator[Measurement]:
        """|x̂ - E[x | y]|², the expectation being the true density's: what the mean squared error exceeds the least possible by.

        x̂ is the mean of independent chains, whose own scatter is subtracted: unbiased for the excess of infinitely many chains.
        """
        if evaluation.density is None:
            raise NotAvailable("the true density is unknown")
        best = denoising_mean(evaluation.density, found.observed, found.noise)
        scatter = found.means.var(axis=0, ddof=1) / len(found.means)
        said = f"n = {len(best)} of the test split, {found.protocol}; the best estimate by quadrature"
        for source, excess in (("", (found.mean - best) ** 2 - scatter), (self.baseline, (found.observed - best) ** 2)):
            mean, error = mean_and_error(excess.sum(axis=1))
            row = self.measured(self.plane, mean, len(best), error, said)
            yield row.at(source) if source else row
