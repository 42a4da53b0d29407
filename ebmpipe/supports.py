"""Where an energy is defined, if not everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """The cube [low, high] in every coordinate, outside of which the density is zero."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"a box needs finite low < high, got {self.low} and {self.high}")

    @property
    def width(self) -> float:
        """Length of an edge, in data units."""
        return self.high - self.low

    def _phase(self, x: Tensor) -> Tensor:
        """Where ``x`` is in the period of the mirror images, [0, 2 width)."""
        return (x - self.low).remainder(2 * self.width)

    def fold(self, x: Tensor) -> Tensor:
        """The mirror image of ``x`` (n, *event) in the box; itself if it lies there."""
        mirrored = (self.width - (self._phase(x) - self.width).abs() + self.low).clamp(self.low, self.high)
        return torch.where((x >= self.low) & (x <= self.high), x, mirrored)

    def nearest(self, x: Tensor) -> Tensor:
        """The point of the box that is nearest to ``x`` (n, *event); itself if it lies there."""
        return x.clamp(self.low, self.high)

    def orientation(self, x: Tensor) -> Tensor:
        """The derivative of `fold`: 1 where a coordinate is seen as it is, walls included, -1 where it is mirrored."""
        return torch.where(self._phase(x) <= self.width, 1.0, -1.0).to(x.dtype)

    def contains(self, x: Tensor) -> Tensor:
        """Which examples lie in the box, (n,) bool."""
        return ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
