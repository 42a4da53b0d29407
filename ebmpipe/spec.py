"""What a model must know about its data: the part of a data card that methods and metrics read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

Kind = Literal["density", "vectors", "images", "binary"]


@dataclass(frozen=True)
class DataSpec:
    """A prepared data set, seen from a model.

    Attributes:
        name: id of the data set.
        kind: ``density`` (2-D, true density known), ``vectors``, ``images`` or ``binary`` (every coordinate -1 or 1).
        shape: event shape, such as ``(2,)`` or ``(channels, height, width)``.
        mean: mean of all coordinates of the training split, in model space.
        std: standard deviation of all coordinates about ``mean``, in model space.
        levels: number of grey levels of an image, None for all else. Model space is 2 (v + u) / levels - 1.
        classes: number of classes, None if unlabelled.
        entropy: entropy of the true law in nats, of a density the differential one; None exactly where the law is unknown.
        folder: where the prepared arrays lie.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    mean: float
    std: float
    levels: int | None
    classes: int | None
    entropy: float | None
    folder: Path

    @property
    def dimension(self) -> int:
        """Number of coordinates of one event."""
        return prod(self.shape)

    @property
    def pictured(self) -> bool:
        """Whether events are pictures (channels, height, width): images, and binary data of that shape."""
        return self.kind in ("images", "binary") and len(self.shape) == 3

    @property
    def standardisation(self) -> tuple[float, float]:
        """m and s such that networks see (x - m) / s: mean and standard deviation; 0 and 1 of binary data, whose -1 and 1 mean what they
        say."""
        return (0.0, 1.0) if self.kind == "binary" else (self.mean, self.std)

    @classmethod
    def from_card(cls, card: Mapping[str, Any], folder: Path) -> DataSpec:
        """The spec in the content of a data card, whose arrays lie in ``folder``."""
        fields = {key: card[key] for key in ("name", "kind", "mean", "std", "levels", "classes", "entropy")}
        return cls(**fields, shape=tuple(card["shape"]), folder=folder)
