"""The contract of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from ebmpipe.spec import Kind


class DataSet(ABC):
    """A source of fixed training, validation and test splits. Everything here is numpy: preparing needs no torch.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the prepared arrays change.
        title: what a table or figure calls it.
        kind: ``density``, ``vectors`` or ``images``.
        shape: event shape.
        levels: number of grey levels of an image, None for vectors.
        classes: number of classes, None if unlabelled.
        source: where the data come from (authors, year, or the package that ships them).
        licence: under which terms they may be used.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    title: ClassVar[str]
    kind: ClassVar[Kind]
    shape: ClassVar[tuple[int, ...]]
    levels: ClassVar[int | None] = None
    classes: ClassVar[int | None] = None
    source: ClassVar[str]
    licence: ClassVar[str]

    @abstractmethod
    def arrays(self, raw: Path | None) -> dict[str, np.ndarray]:
        """``train``, ``validation`` and ``test``, each (n, *shape): float32 vectors or uint8 image levels.

        Labelled sets add ``train_labels`` and so on, (n,) int64. Deterministic: the splits are fixed.

        Args:
            raw: the folder of raw data files, for sets that need one.
        """


class Density(DataSet):
    """A distribution on the plane with a known density; its splits are samples."""

    kind = "density"
    shape = (2,)
    source = "formula"
    licence = "public domain"

    #: Largest error of `log_density` in nats where the density exceeds 1e-6 of its maximum; 0 for a closed form.
    log_density_error: ClassVar[float] = 0.0

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent exact samples, (n, 2) float64."""

    @abstractmethod
    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Normalised log-density in nats at ``x`` (n, 2), shape (n,) float64; -inf outside the support."""

    @abstractmethod
    def entropy(self) -> float:
        """Differential entropy in nats, to 1e-3 or better (closed form or quadrature)."""
