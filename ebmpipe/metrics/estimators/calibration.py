"""How far a classifier's confidence is from how often it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Bins of equal width over [0, 1], as in Guo et al. (2017).
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """What falls into each bin of confidence.

    Attributes:
        share: fraction of the examples, (bins,).
        confidence: their mean confidence, NaN of an empty bin, (bins,).
        accuracy: the fraction of them that is classified rightly, NaN of an empty bin, (bins,).
    """

    share: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Σ share · |accuracy - confidence|: the expected calibration error (Naeini, Cooper & Hauskrecht 2015)."""
        return float(np.nansum(self.share * np.abs(self.accuracy - self.confidence)))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Bins (i / bins, (i + 1) / bins] of confidence.

    Args:
        confidence: the probability of the class that was chosen, (n,) in [0, 1].
        correct: whether it is the right one, (n,).
        bins: how many.
    """
    index = np.clip(np.ceil(np.asarray(confidence) * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        sums = (np.bincount(index, weights=values, minlength=bins) / counts for values in (confidence, np.asarray(correct, dtype=float)))
        mean_confidence, accuracy = sums
    return Reliability(counts / len(index), mean_confidence, accuracy)


def error_if_calibrated(confidence: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Calibration errors (draws,) of classifiers with these confidences (n,) that are right exactly as often as they say.

    No finite sample has an error of 0: bins are off by chance, and absolute values do not cancel.
    """
    return np.array([reliability(confidence, rng.random(len(confidence)) < confidence).calibration_error for _ in range(draws)])
