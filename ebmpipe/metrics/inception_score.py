"""Inception score: are samples, each for itself, of one class, and all together of many?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.feature_metric import INCEPTION, LIMIT, FeatureMetric, taken
from ebmpipe.metrics.estimators.feature_statistics import CHUNK

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace

#: Parts of the samples, each of which has a score.
SPLITS = 10


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log p(class | image), (n, classes)."""
    logits = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


class ScoreOfSplits:
    """Adds up, by split, what the score needs: the mean of p(class | image), and the mean of its negative entropy.

    Args:
        n: number of images to come, at least `SPLITS`; a split is a stretch of them.
    """

    def __init__(self, n: int) -> None:
        self.split = np.repeat(np.arange(SPLITS), np.diff(np.arange(SPLITS + 1) * n // SPLITS))
        self.probabilities: np.ndarray | None = None
        self.information = np.zeros(SPLITS)

    def add(self, part: slice, logits: np.ndarray) -> None:
        """Take in the logits (m, classes) of the images ``part``."""
        log_p = log_softmax(logits)
        p = np.exp(log_p)
        if self.probabilities is None:
            self.probabilities = np.zeros((SPLITS, p.shape[1]))
        np.add.at(self.probabilities, self.split[part], p)
        np.add.at(self.information, self.split[part], (p * log_p).sum(axis=1))

    def scores(self) -> np.ndarray:
        """exp of the mean KL divergence from p(class) to p(class | image) of each split, (SPLITS,)."""
        assert self.probabilities is not None
        counts = np.bincount(self.split, minlength=SPLITS)
        marginal = self.probabilities / counts[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.where(marginal > 0, marginal * np.log(marginal), 0.0).sum(axis=1)
        return np.asarray(np.exp(self.information / counts + entropy))


class InceptionScore(FeatureMetric):
    """Inception score (Salimans et al. 2016): of the Inception network's classes, and of no other network's."""

    name = "inception_score"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "inception_score": MetricInfo(
            "", "higher", "exp of the mean KL divergence between classes given an image and all classes, 10 splits"
        ),
    }

    def ids_in(self, extractor: str) -> tuple[str, ...]:
        return tuple(self.ids) if extractor == INCEPTION else ()

    def within(self, samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> Iterator[Measurement]:
        if space.logits is None:
            raise ValueError("the Inception network must give logits too")
        n = min(len(samples), LIMIT)
        if n < 2 * SPLITS:
            raise NotAvailable(f"{n} samples are too few for {SPLITS} splits; {2 * SPLITS} are needed")
        order, of_splits = taken(samples, evaluation, n), ScoreOfSplits(n)
        for part in chunks(n, CHUNK):
            logits = np.asarray(space.logits(samples[order[part]]), dtype=np.float64)
            if logits.ndim != 2 or len(logits) != part.stop - part.start:
                raise ValueError(f"{space.name} made logits of shape {logits.shape} from {part.stop - part.start} events")
            if not np.isfinite(logits).all():
                raise NotAvailable(f"{space.name} logits of the samples are not finite")
            of_splits.add(part, logits)
        scores = of_splits.scores()
        said = f"{space.name} logits (weights {space.weights_sha256[:8]}), n = {n} samples in {SPLITS} splits, {space.preprocessing}"
        yield self.measured(self.name, float(scores.mean()), n, float(scores.std(ddof=1) / np.sqrt(SPLITS)), said)
