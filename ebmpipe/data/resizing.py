"""Images brought to the shape and the grey levels of another data set."""

from __future__ import annotations

import numpy as np

#: Luminance of red, green and blue (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)

#: What is done, in words.
IN_WORDS = "luminance by ITU-R BT.601 or equal channels, area average down or bilinear up, in the levels of the data"


def averaging(size: int, target: int) -> np.ndarray:
    """Weights (target, size) of the mean over each of ``target`` equal stretches of ``size`` pixels; a pixel counts by its overlap."""
    edges = np.arange(target + 1) * (size / target)
    low, high = edges[:-1, None], edges[1:, None]
    overlap = np.minimum(high, np.arange(1, size + 1)) - np.maximum(low, np.arange(size))
    return np.asarray(np.maximum(overlap, 0) * (target / size))


def interpolating(size: int, target: int) -> np.ndarray:
    """Weights (target, size) of linear interpolation between the centres of pixels; the border repeats."""
    place = np.clip((np.arange(target) + 0.5) * (size / target) - 0.5, 0, size - 1)
    left = np.minimum(np.floor(place).astype(int), max(size - 2, 0))
    weights = np.zeros((target, size))
    rows = np.arange(target)
    weights[rows, left] = 1 - (place - left)
    if size > 1:
        weights[rows, left + 1] += place - left
    return weights


def resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images (n, c, h, w) as (n, c, ``height``, ``width``), float64: in each direction the area average down, bilinear up.

    Both have weights that sum to one, and the area average keeps the mean of the image.
    """
    rows, columns = (
        (averaging if target < size else interpolating)(size, target)
        for size, target in zip(images.shape[2:], (height, width), strict=True)
    )
    return np.asarray(np.einsum("ih,nchw,jw->ncij", rows, images.astype(np.float64), columns, optimize=True))


def recoloured(images: np.ndarray, channels: int) -> np.ndarray:
    """Images (n, c, h, w) with 1 or 3 channels: luminance of colours, or the grey of each in all three.

    Raises:
        ValueError: for any other numbers of channels.
    """
    have = images.shape[1]
    if have == channels:
        return images
    if (have, channels) == (3, 1):
        return np.asarray(np.einsum("nchw,c->nhw", images.astype(np.float64), LUMINANCE)[:, None])
    if (have, channels) == (1, 3):
        return np.repeat(images, 3, axis=1)
    raise ValueError(f"images of {have} channels cannot be brought to {channels}: only grey and colours can")


def fitted(levels: np.ndarray, of: int, shape: tuple[int, ...], to: int) -> np.ndarray:
    """Levels (n, c, h, w) of ``of`` as levels (n, *shape) of ``to``, uint8 if those suffice.

    Where there are to be as many or fewer, a level stands for the middle of its interval of [0, 1], and becomes the interval that the
    result lies in. Where there are to be more, the ends of the scale become its ends and v becomes v (``to`` - 1) / (``of`` - 1), rounded:
    black stays black and white stays white, where middles of coarse intervals would be greys. Values between the old levels then occur
    only where pixels are averaged or interpolated.

    Args:
        levels: integers 0 to ``of`` - 1.
        of: their number.
        shape: (channels, height, width) to bring them to.
        to: number of levels to bring them to.

    Raises:
        ValueError: if the channels do not fit.
    """
    mean = resized(recoloured(levels, shape[0]), *shape[1:])
    places = mean * ((to - 1) / (of - 1)) + 0.5 if to > of else (mean + 0.5) / of * to
    return np.clip(np.floor(places), 0, to - 1).astype(np.uint8 if to <= 256 else np.int64)
