"""Conditional laws of a known density on the plane, by quadrature."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.base import Density

#: Steps of the grid in a standard deviation of the noise, and the most cells per side.
STEPS, MOST = 8, 1_200


def midpoints(density: Density, step: float) -> np.ndarray:
    """Centres of equal cells of about ``step`` that cover [-reach, reach]."""
    cells = min(int(np.ceil(2 * density.reach / step)), MOST)
    return np.asarray((np.arange(cells) + 0.5) / cells * 2 * density.reach - density.reach)


def denoising_mean(density: Density, y: np.ndarray, tau: float) -> np.ndarray:
    """E[x | y] for x of the density and y = x + τ z, (n, 2): the midpoint rule on one grid for all ``y`` (n, 2).

    The weights are separable, so that the sums are two matrix products.
    """
    ticks = midpoints(density, min(density.step, tau / STEPS))
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1)
    log_p = density.log_density(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    p = np.exp(log_p - log_p.max())
    first, second = (likelihoods(y[:, i], ticks, tau) for i in (0, 1))
    inner = second @ p.T  # (n, x₁)
    total = (first * inner).sum(axis=1)
    x1 = (first * ticks * inner).sum(axis=1)
    x2 = (first * ((second * ticks) @ p.T)).sum(axis=1)
    return np.asarray(np.stack([x1, x2], axis=1) / total[:, None])


def likelihoods(y: np.ndarray, ticks: np.ndarray, tau: float) -> np.ndarray:
    """N(y; x, τ²) for ``y`` (n,) and x in ``ticks`` (k,), each row up to a factor, (n, k)."""
    squares = (y[:, None] - ticks) ** 2
    return np.asarray(np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * tau**2)))


def conditional_cdf(density: Density, x1: np.ndarray, cells: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """The distribution function of x₂ given x₁, for ``x1`` (n,).

    Returns:
        Right edges of ``cells`` equal cells of [-reach, reach], (cells,), and the function there, (n, cells).
    """
    edges = np.linspace(-density.reach, density.reach, cells + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    points = np.stack(np.broadcast_arrays(x1[:, None], centres), axis=-1)
    log_p = density.log_density(points.reshape(-1, 2)).reshape(len(x1), -1)
    mass = np.cumsum(np.exp(log_p - log_p.max(axis=1, keepdims=True)), axis=1)
    return edges[1:], mass / mass[:, -1:]
