"""Distances between many points and many others."""

from __future__ import annotations

import numpy as np


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """‖x_i - y_j‖², (m, n)."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
    squares -= 2 * (x @ y.T)
    np.maximum(squares, 0.0, out=squares)
    return np.asarray(squares)
