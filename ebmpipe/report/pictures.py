"""What pictures of data share: densities as maps, images as mosaics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

#: A rectangle of the plane: left, right, bottom, top.
Box = tuple[float, float, float, float]


def window(points: np.ndarray) -> Box:
    """The square that shows nearly all ``points`` (n, 2): left, right, bottom, top."""
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    centre, half = (low + high) / 2, 0.56 * float((high - low).max())
    return float(centre[0] - half), float(centre[0] + half), float(centre[1] - half), float(centre[1] + half)


def show(axes: Axes, density: np.ndarray, extent: Box, highest: float) -> Any:
    """Draw a density."""
    return axes.imshow(density, origin="lower", extent=extent, vmin=0, vmax=highest, interpolation="bilinear", rasterized=True)


def show_grid(axes: Axes, grid: Mapping[str, np.ndarray], box: Box, highest: float) -> Any:
    """Draw the ``log_density`` (ny, nx) of ``grid``, normalised and given at its ``grid_x`` and ``grid_y``, in the frame of ``box``."""
    x, y = grid["grid_x"], grid["grid_y"]
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    image = show(axes, np.exp(grid["log_density"]), (x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy), highest)
    axes.set_facecolor("#440154")
    axes.set_xlim(*box[:2])
    axes.set_ylim(*box[2:])
    return image


def grey(images: np.ndarray, levels: int | None) -> np.ndarray:
    """Images (n, c, h, w) in model space, or as integer levels, to [0, 1]."""
    unit = images / (max(2, levels or 256) - 1) if levels and np.issubdtype(images.dtype, np.integer) else (images + 1) / 2
    return np.asarray(np.clip(unit, 0, 1), dtype=float)


class Shades:
    """Images as `grey` gives them, made where they are indexed by rows: a training split need not be in memory as float64."""

    def __init__(self, images: np.ndarray, levels: int | None) -> None:
        self.images, self.levels = images, levels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return grey(self.images[rows], self.levels)


def mosaic(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Images (n, c, h, w) in [0, 1] on a white sheet, (H, W, 3)."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = np.moveaxis(image[:3] if channels >= 3 else image[:1].repeat(3, 0), 0, -1)
    return sheet
