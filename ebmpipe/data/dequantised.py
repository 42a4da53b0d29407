"""A split of images in model space that is made as it is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebmpipe.data.prepared import to_model_space
from ebmpipe.seeding import derive

#: Bumped when the same names would give other noise.
REVISION = 1

#: Numbers that are made at once where all are wanted, so that an array of single precision costs little more than itself.
TOGETHER = 2**20

#: Numbers that Philox makes per step of its counter.
PER_STEP = 4


class Dequantised:
    """Images in model space, (n, *shape) float64 wherever they are indexed; what is stored stays one byte a pixel.

    The noise of image i is the i-th stretch of one counter-based stream (Philox; Salmon et al. 2011): it depends on the stream's names and
    on i alone, so that any subset can be made again, in any order and in pieces of any size.

    Args:
        values: integer levels, (n, *shape).
        levels: number of grey levels.
        names: of the stream of noise.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, values: np.ndarray, levels: int, *names: str) -> None:
        self.values, self.levels = values, levels
        self._key = derive(0, *names)
        self._steps = -(-int(np.prod(values.shape[1:])) // PER_STEP)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *shape)."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The images ``rows``: a slice, an array of integers or a mask; or the one image of an integer."""
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            return np.asarray(self[[int(chosen)]][0])
        noise = np.empty((len(chosen), *self.shape[1:]))
        for run in np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(chosen) != 1) + 1):
            if len(run):  # neighbours on the stream are drawn together
                noise[run] = self._noise(int(chosen[run[0]]), len(run))
        return np.asarray(to_model_space(self.values[chosen], self.levels, noise))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("dequantised images are made when they are looked at: there is no array to share")
        made = np.empty(self.shape, dtype=dtype or self.dtype)
        together = max(1, TOGETHER // (self._steps * PER_STEP))
        for start in range(0, len(self), together):
            made[start : start + together] = self[start : start + together]
        return made

    def _noise(self, first: int, n: int) -> np.ndarray:
        """The noise in [0, 1) of ``n`` images from ``first`` on."""
        generator = np.random.Generator(np.random.Philox(key=self._key, counter=first * self._steps))
        drawn = generator.random((n, self._steps * PER_STEP))[:, : int(np.prod(self.shape[1:]))]
        return drawn.reshape(n, *self.shape[1:])
