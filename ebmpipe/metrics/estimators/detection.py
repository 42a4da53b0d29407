"""How well a score tells two sets apart: areas under the ROC and the precision-recall curve, with their standard errors.

Positive examples are to have the higher scores. Scores may be infinite; equal ones are ties, whatever the order.
"""

from __future__ import annotations

import numpy as np

#: Bootstrap samples of a standard error.
RESAMPLES = 200


def placements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each of ``scores`` (n,), the share of ``others`` that are lower, ties counting half, (n,)."""
    others = np.sort(others)
    lower, up_to = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    return np.asarray((lower + up_to) / 2 / len(others))


def auroc(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """P(score of a positive > that of a negative) + P(equal)/2, and its standard error (DeLong, DeLong & Clarke-Pearson 1988).

    The variance is that of a two-sample U-statistic to first order: that of the placements of positives, over their number, and likewise of
    negatives.

    Args:
        positive: scores (n,), n ≥ 2.
        negative: scores (m,), m ≥ 2.
    """
    of_positive, of_negative = placements(positive, negative), 1 - placements(negative, positive)
    variance = of_positive.var(ddof=1) / len(positive) + of_negative.var(ddof=1) / len(negative)
    return float(of_positive.mean()), float(np.sqrt(variance))


def average_precision(positive: np.ndarray, negative: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Σ_k (R_k - R_(k-1)) P_k over the distinct scores from high to low: P_k precision, R_k recall among all down to the k-th.

    Args:
        positive: scores (n,).
        negative: scores (m,).
        counts: how often each example counts, (b, n + m), positives first, for b values at once; once each if None.

    Returns:
        The values, (b,).
    """
    scores = np.concatenate([positive, negative])
    truth = np.arange(len(scores)) < len(positive)
    order = np.argsort(-scores, kind="stable")
    weights = np.ones((1, len(scores))) if counts is None else counts
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    hits, taken = (np.cumsum(w[:, order], axis=1)[:, last] for w in (weights * truth, weights))
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    return np.asarray((np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1) / hits[:, -1])


def auprc(positive: np.ndarray, negative: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The average precision of positives, and its standard error: a bootstrap of both sides."""
    n, m = len(positive), len(negative)
    counts = np.concatenate([rng.multinomial(k, np.full(k, 1 / k), RESAMPLES) for k in (n, m)], axis=1).astype(np.float64)
    repeats = average_precision(positive, negative, counts)
    return float(average_precision(positive, negative)[0]), float(repeats.std(ddof=1))
