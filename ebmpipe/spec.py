"""What a model must know about its data: the part of a data card that methods and metrics read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

Kind = Literal["density", "vectors", "images"]


@dataclass(frozen=True)
class DataSpec:
    """A prepared data set, seen from a model.

    Attributes:
        name: id of the data set.
        kind: ``density`` (2-D, true density known), ``vectors`` or ``images``.
        shape: event shape, ``(2,)`` or ``(channels, height, width)``.
        mean: mean of all coordinates of the training split, in model space.
        std: standard deviation of all coordinates about ``mean``, in model space.
        levels: number of grey levels of an image, None for vectors. Model space is 2 (v + u) / levels - 1.
        classes: number of classes, None if unlabelled.
        entropy: differential entropy of the true density in nats, None if unknown.
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

    @classmethod
    def from_card(cls, card: Mapping[str, Any], folder: Path) -> DataSpec:
        """The spec in the content of a data card, whose arrays lie in ``folder``."""
        fields = {key: card[key] for key in ("name", "kind", "mean", "std", "levels", "classes", "entropy")}
        return cls(**fields, shape=tuple(card["shape"]), folder=folder)
