"""The unbiased estimate of the squared kernel Stein discrepancy, and its standard error."""

from __future__ import annotations

import numpy as np

from ebmpipe.metrics.estimators.two_sample import Kernel, gram


def stein_kernel(scale: float) -> Kernel:
    """The Stein kernel of k(x, y) = (1 + ‖x - y‖² / c²)^-½ with c = ``scale``, between rows [x, s(x)] of width 2d.

    s(x)·s(y) k + s(x)·∇_y k + s(y)·∇_x k + tr ∇_x ∇_y k, whose mean under a law with score s is 0 in either argument.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        d = x.shape[1] // 2
        (x, s), (y, t) = ((side[:, :d], side[:, d:]) for side in (x, y))
        squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T)
        np.maximum(squares, 0.0, out=squares)
        # With v = 1 / (1 + ‖x - y‖²/c²) it is √v [s·t + v ((s - t)·(x - y) + d)/c² - 3 v² ‖x - y‖²/c⁴].
        v = 1 / (1 + squares / scale**2)
        along = (s * x).sum(axis=1)[:, None] + (t * y).sum(axis=1) - s @ y.T - x @ t.T
        return np.asarray(np.sqrt(v) * (s @ t.T + v * (along + d) / scale**2 - 3 * v**2 * squares / scale**4))

    return kernel


def squared_ksd(x: np.ndarray, score: np.ndarray, scale: float) -> tuple[float, float]:
    """Unbiased KSD² of points ``x`` (n, d) from the law whose ``score`` ∇ log p (n, d) is given there, and its standard error.

    The value may be negative. The error follows from Hoeffding's decomposition, as in `two_sample.squared_mmd`: a part of first
    order, which vanishes at the truth, and one of second order, which does not.
    """
    n, centre = len(x), x.mean(axis=0)
    # A shift changes no difference, but keeps the differences of squares accurate where the points are far from 0.
    pairs = gram(stein_kernel(scale), np.concatenate([x - centre, score], axis=1))
    second = pairs.centred_square
    first = float(pairs.rows.var(ddof=1)) - second / (n - 1)
    return pairs.mean, float(np.sqrt(4 * max(first, 0.0) / n + 2 * second / (n * (n - 1))))
