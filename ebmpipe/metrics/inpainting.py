"""Test examples of which a part is missing, completed by sampling the energy given the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.restored import RestorationMetric, image_ids
from ebmpipe.metrics.estimators.true_posterior import conditional_cdf
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.restoration.restored import Restored

#: Training images whose mean stands for the missing pixels in the baseline, and how many are made at once.
AVERAGED, TOGETHER = 5_000, 1_000


class Inpainting(RestorationMetric):
    """How near the conditional mean comes to what was missing; in the plane, the conditional law to the true one."""

    name = "inpainting"
    revision = 1
    task = "inpainting"
    baseline = "mean_example"
    plane = "inpainting_excess_crps"
    ids: ClassVar[dict[str, MetricInfo]] = {
        **image_ids("inpainting"),
        "inpainting_excess_crps": MetricInfo(
            "data units", "lower", "continuous ranked probability score of x₂ given x₁ beyond that of the true conditional law"
        ),
    }

    def without_model(self, found: Restored, evaluation: Evaluation) -> np.ndarray:
        """The mean of training images in the missing places."""
        n = min(len(evaluation.train), AVERAGED)
        mean = sum(np.asarray(evaluation.train[part]).sum(axis=0) for part in chunks(n, TOGETHER)) / n
        assert found.missing is not None
        return np.where(found.missing, mean, found.clean)

    def in_the_plane(self, found: Restored, evaluation: Evaluation) -> Iterator[Measurement]:
        """∫ (F - G)² dx₂, with F the distribution function of the draws given x₁ and G the true one (Gneiting & Raftery 2007).

        It is the expectation over x₂ of what the score of F exceeds that of G by. F is the mean over independent chains, whose own
        scatter is subtracted: unbiased for infinitely many chains, whatever the dependence of the draws of one. The baseline is the law of
        x₂ alone.
        """
        if evaluation.density is None:
            raise NotAvailable("the true density is unknown")
        edges, truth = conditional_cdf(evaluation.density, found.clean[:, 0])
        width = edges[1] - edges[0]
        excess = np.empty(len(truth))
        for i, of_truth in enumerate(truth):
            drawn = found.draws[:, :, i, 1]  # (draws, chains)
            below = np.stack([np.searchsorted(np.sort(chain), edges, "right") / len(chain) for chain in drawn.T])
            scatter = below.var(axis=0, ddof=1) / len(below)
            excess[i] = (((below.mean(axis=0) - of_truth) ** 2 - scatter).sum()) * width
        alone = np.sort(np.asarray(evaluation.train)[:AVERAGED, 1])
        marginal = np.searchsorted(alone, edges, "right") / len(alone)
        said = f"n = {len(truth)} of the test split, {found.protocol}; the true conditional law by quadrature"
        for source, each in (("", excess), (self.baseline, ((marginal - truth) ** 2).sum(axis=1) * width)):
            mean, error = mean_and_error(each)
            row = self.measured(self.plane, mean, len(each), error, said)
            yield row.at(source) if source else row
