"""The contract of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.data.fetching import candidates, folders
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import Kind

#: The splits of every data set, in the order in which they are drawn.
SPLITS = ("train", "validation", "test")

#: Step of `central_differences`: far below the width of every feature of the densities here, far above rounding.
STEP = 2e-4


def central_differences(log_density: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The gradient of ``log_density`` at ``x`` (n, 2), by differences whose error is of fourth order in `STEP`; (n, 2)."""
    slope = np.empty(x.shape)
    for coordinate in range(x.shape[1]):
        step = STEP * np.eye(x.shape[1])[coordinate]
        near, far = (log_density(x + k * step) - log_density(x - k * step) for k in (1, 2))
        slope[:, coordinate] = (8 * near - far) / (12 * STEP)
    return slope


class DataSet(ABC):
    """A source of fixed training, validation and test splits. Everything here is numpy: preparing needs no torch.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the prepared arrays change.
        title: what a table or figure calls it.
        kind: ``density``, ``vectors`` or ``images``.
        shape: event shape.
        sizes: number of examples of every split.
        levels: number of grey levels of an image, None for vectors.
        classes: number of classes, None if unlabelled.
        source: where the data come from (authors, year, or the package that ships them).
        licence: under which terms they may be used.
        transformations: what was done to the source, as a sentence.
        raw_files: files that must be at hand, gzipped or not; none for sets that ship with a package or a formula.
        raw_folders: where they are looked for: relative to a folder of raw data, the first being where downloads go, or absolute.
        mirrors: addresses of folders that raw files can be downloaded from, gzipped; none where they must be at hand.
        starting_point: ``network``, ``sampling`` and ``long_run`` in place of those of its kind, where nothing else is said; as a config
            says them.
        duplicates: how many images of a later split are identical to one of an earlier split because the source has them twice.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    title: ClassVar[str]
    kind: ClassVar[Kind]
    shape: ClassVar[tuple[int, ...]]
    sizes: ClassVar[dict[str, int]]
    levels: ClassVar[int | None] = None
    classes: ClassVar[int | None] = None
    source: ClassVar[str]
    licence: ClassVar[str]
    transformations: ClassVar[str]
    starting_point: ClassVar[Mapping[str, Any]] = {}
    duplicates: ClassVar[int] = 0
    raw_files: ClassVar[tuple[str, ...]] = ()
    raw_folders: ClassVar[tuple[str, ...]] = ()
    mirrors: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def folders(cls, raw: Path | None) -> list[Path]:
        """The folders to look for raw files in, given the folder of raw data that the user named."""
        return folders(cls.raw_folders, raw)

    @classmethod
    def whereabouts(cls, raw: Path | None) -> str:
        """In a few words, where the raw files are, or that they will be downloaded; a look at names only, no checksum."""
        if not cls.raw_files:
            return "built in"
        found = {name: candidates(name, cls.raw_folders, raw) for name in cls.raw_files}
        if all(found.values()):
            return "in " + ", ".join(dict.fromkeys(str(paths[0].parent) for paths in found.values()))
        absent = ", ".join(name for name, paths in found.items() if not paths) if any(found.values()) else "raw files"
        return f"{absent} to be downloaded when prepared" if cls.mirrors else f"{absent} missing"

    @abstractmethod
    def arrays(self, raw: Path | None) -> dict[str, np.ndarray]:
        """``train``, ``validation`` and ``test``, each (n, *shape): float32 vectors or uint8 image levels.

        Labelled sets add ``train_labels`` and so on, (n,) int64. Deterministic: the splits are fixed.

        Args:
            raw: the folder of raw data files, for sets that need one.
        """


class Density(DataSet):
    """A distribution on the plane with a known density; its splits are samples.

    Attributes:
        log_density_error: largest error of `log_density` in nats where the density exceeds 1e-6 of its maximum; 0 for a closed form.
        reach: the square [-reach, reach]² holds all mass but 1e-9.
        step: step of the grid that resolves the density, for its entropy.
        entropy_method: how `entropy` is computed.
        modes: (k, 2) centres, where nearness to a centre tells the modes apart: exactly 1/k of the mass lies nearest to each, and
            likewise of that part of the mass where the density exceeds any given level.
        edges: whether the density jumps somewhere, so that it has no score.
    """

    kind = "density"
    shape = (2,)
    sizes: ClassVar[dict[str, int]] = {"train": 50_000, "validation": 10_000, "test": 20_000}
    source = "formula"
    licence = "public domain"
    transformations = "Independent exact samples, rounded to float32."
    log_density_error: ClassVar[float] = 0.0
    reach: ClassVar[float]
    step: ClassVar[float]
    entropy_method: ClassVar[str] = "midpoint rule on a square grid"
    modes: ClassVar[np.ndarray | None] = None
    edges: ClassVar[bool] = False

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent exact samples, (n, 2) float64."""

    @abstractmethod
    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Normalised log-density in nats at ``x`` (n, 2), shape (n,) float64; -inf outside the support."""

    def score(self, x: np.ndarray) -> np.ndarray:
        """∇ log p at ``x`` (n, 2), shape (n, 2) float64: a closed form, or else central differences of `log_density`, to 1e-6.

        Raises:
            ValueError: if the density has edges: the score says nothing about jumps.
        """
        if self.edges:
            raise ValueError(f"the density of {self.name} has edges and therefore no score")
        return central_differences(self.log_density, np.asarray(x, dtype=np.float64))

    def entropy(self) -> float:
        """Differential entropy in nats, to 1e-6 or better: the midpoint rule, which converges exponentially for a smooth density."""
        cells = round(2 * self.reach / self.step)
        centres = (np.arange(cells) + 0.5) / cells * 2 * self.reach - self.reach
        log_p = self.log_density(np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2))
        log_p = log_p[log_p > -700]  # exp underflows, and 0 log 0 is 0
        return float(-(np.exp(log_p) * log_p).sum() * (2 * self.reach / cells) ** 2)

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """Samples of a seed that depends on the name only; ``raw`` is ignored."""
        rng = numpy_generator(0, "data", self.name)
        return {split: self.sample(self.sizes[split], rng).astype(np.float32) for split in SPLITS}
