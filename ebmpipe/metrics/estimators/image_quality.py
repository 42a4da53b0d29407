"""How like two images are: mean squared error, peak signal-to-noise ratio, structural similarity. Pixels are in [0, 1]."""

from __future__ import annotations

import numpy as np

#: Side of the window of structural similarity, and its two constants (Wang et al. 2004).
WINDOW, K1, K2 = 7, 0.01, 0.03


def unit(x: np.ndarray) -> np.ndarray:
    """Images in model space, [-1, 1], with pixels in [0, 1]; what lies beyond returns to the nearest end."""
    return np.asarray(np.clip((x + 1) / 2, 0, 1), dtype=np.float64)


def squared_errors(x: np.ndarray, y: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """The mean squared difference of each pair of images (n, c, h, w), (n,); over the coordinates ``where`` (c, h, w) if given."""
    squares = ((x - y) ** 2).reshape(len(x), -1)
    return np.asarray((squares if where is None else squares[:, where.ravel()]).mean(axis=1))


def psnr(errors: np.ndarray) -> np.ndarray:
    """The peak signal-to-noise ratio -10 log₁₀ of mean squared errors (n,), in decibels, the peak being 1."""
    return np.asarray(-10 * np.log10(np.maximum(errors, np.finfo(float).tiny)))


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair of images (n, c, h, w), (n,) (Wang et al. 2004, eq. 13).

    Means, variances and the covariance are those of uniform windows of `WINDOW` pixels; the index is averaged over channels and all windows
    that lie in the image.

    Raises:
        ValueError: if an image is smaller than a window.
    """
    if min(x.shape[2:]) < WINDOW:
        raise ValueError(f"structural similarity needs images of {WINDOW} x {WINDOW} pixels or more, not {x.shape[2]} x {x.shape[3]}")
    mean_x, mean_y = windowed(x), windowed(y)
    var_x, var_y = windowed(x * x) - mean_x**2, windowed(y * y) - mean_y**2
    cov = windowed(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    index = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return np.asarray(index.reshape(len(x), -1).mean(axis=1))


def windowed(x: np.ndarray) -> np.ndarray:
    """Means over all windows that lie in images (n, c, h, w)."""
    views = np.lib.stride_tricks.sliding_window_view(x, (WINDOW, WINDOW), axis=(2, 3))
    return np.asarray(views.mean(axis=(-1, -2)))
