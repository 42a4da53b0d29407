"""The contract of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.fetching import at_hand, folders, lacking
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


#: What the card and `ebmpipe datasets` say of a set whose original nobody here has read.
NEVER_RUN = "format tested, never run on the original"


class DataSet:
    """A source of fixed training, validation and test splits. Everything here is numpy: preparing needs no torch.

    The arrays are ``train``, ``validation`` and ``test``, each (n, *shape): float32 numbers or uint8 image levels. Labelled sets add
    ``train_labels`` and so on, (n,) int64. They are deterministic: the splits are fixed.

    A member implements either `arrays`, where all of them fit in memory with room to spare, or `layout` and `parts`, which together may
    take no more than 2 GB however large the set is. Each of the two ways follows from the other.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the prepared arrays change.
        title: what a table or figure calls it.
        kind: ``density``, ``vectors``, ``images`` or ``binary``.
        shape: event shape.
        sizes: number of examples of every split, where all raw files are at hand; see `sizes_found`.
        levels: number of grey levels of an image, None for all else.
        classes: number of classes, None if unlabelled.
        source: where the data come from (authors, year, or the package that ships them).
        licence: under which terms they may be used.
        transformations: what was done to the source, as a sentence.
        raw_choices: sets of files, any one of which serves, the best first; none for data that ship with a package or a formula.
        raw_endings: what the name of a raw file may have added on disk.
        mirrors: addresses of folders that raw files can be downloaded from; none where they must be at hand.
        mirror_ending: what their names have added there.
        raw_folders: where they are looked for: relative to a folder of raw data, the first being where downloads go, or absolute.
        starting_point: ``network`` and settings of stages in place of those of its kind, where nothing else is said; as a config says
            them.
        duplicates: how many examples of a later split are identical to one of an earlier split, each counted, because the source has
            them twice or tells them apart by what is not kept; None where that is not known. The card says how many images were found.
        decodes: whether examples are decoded one at a time, which takes a while.
        run_on_original: whether the member has been run on the original files, and not only on small ones of the same format.
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
    duplicates: ClassVar[int | None] = 0
    run_on_original: ClassVar[bool] = True
    decodes: ClassVar[bool] = False
    raw_choices: ClassVar[tuple[tuple[str, ...], ...]] = ()
    raw_endings: ClassVar[tuple[str, ...]] = ("",)
    raw_folders: ClassVar[tuple[str, ...]] = ()
    mirrors: ClassVar[tuple[str, ...]] = ()
    mirror_ending: ClassVar[str] = ""

    @classmethod
    def entry(cls) -> dict[str, Any]:
        """What the catalogue says of it, as JSON."""
        return {
            "title": cls.title,
            "kind": cls.kind,
            "shape": list(cls.shape),
            "classes": cls.classes,
            "revision": cls.revision,
            "raw_choices": [list(files) for files in cls.raw_choices],
            "raw_endings": list(cls.raw_endings),
            "raw_folders": list(cls.raw_folders),
            "downloads": bool(cls.mirrors),
            "starting_point": dict(cls.starting_point),
        }

    @classmethod
    def folders(cls, raw: Path | None) -> list[Path]:
        """The folders to look for raw files in, given the folder of raw data that the user named."""
        return folders(cls.raw_folders, raw)

    @classmethod
    def whereabouts(cls, raw: Path | None) -> str:
        """In a few words, where the raw files are, or that they will be downloaded; a look at names only, no checksum."""
        if not cls.raw_choices:
            return "built in"
        if found := cls.raw_found(raw):
            return "in " + ", ".join(dict.fromkeys(str(path.parent) for path in found.values()))
        absent = ", ".join(lacking(cls.raw_choices, cls.raw_folders, raw, cls.raw_endings)) or "raw files"
        return f"{absent} to be downloaded when prepared" if cls.mirrors else f"{absent} missing"

    @classmethod
    def told(cls, raw: Path | None) -> str:
        """`whereabouts` and `remarks` in a line."""
        return "; ".join([cls.whereabouts(raw), *cls().remarks(raw)])

    @classmethod
    def raw_found(cls, raw: Path | None) -> dict[str, Path]:
        """The first of `raw_choices` that is at hand whole, by name; empty if none is. A look at names only."""
        return at_hand(cls.raw_choices, cls.raw_folders, raw, cls.raw_endings)

    @classmethod
    def sizes_found(cls, raw: Path | None) -> dict[str, int]:
        """Number of examples that every split will have with the raw files that are at hand; a look at names only."""
        return dict(cls.sizes)

    @classmethod
    def remarks(cls, raw: Path | None) -> list[str]:
        """What else the card says of the set as it was found, as sentences without a full stop; a look at names only."""
        return [] if cls.run_on_original else [NEVER_RUN]

    def about(self) -> dict[str, Any]:
        """What else the card says, once all `parts` were given: what only reading them tells."""
        return {}

    def arrays(self, raw: Path | None) -> dict[str, np.ndarray]:
        """All arrays, in memory.

        Args:
            raw: the folder of raw data files, for sets that need one.
        """
        if type(self).parts is DataSet.parts:
            raise NotImplementedError(f"data set {self.name} must implement arrays, or layout and parts")
        arrays = {key: np.empty(shape, dtype) for key, (shape, dtype) in self.layout(raw).items()}
        for key, rows, values in self.parts(raw):
            arrays[key][rows] = values
        return arrays

    def layout(self, raw: Path | None) -> Layout:
        """Name of every array -> its shape and type, known before any of it is made."""
        self._held = self.arrays(raw)
        return {key: (array.shape, array.dtype) for key, array in self._held.items()}

    def parts(self, raw: Path | None) -> Iterator[Part]:
        """The arrays by parts: name, rows (a slice or an array of positions) and what stands there. Every row once, in any order."""
        held: dict[str, np.ndarray] = self.__dict__.pop("_held", None) or self.arrays(raw)
        for key in list(held):
            yield key, slice(None), held.pop(key)


class KnownLaw(DataSet, ABC):
    """A law that is known exactly; the splits are samples of it.

    Attributes:
        log_density_error: largest error of `log_density` in nats where the density exceeds 1e-6 of its maximum; 0 for a closed form.
        entropy_method: how `entropy` is computed.
        edges: whether the density jumps somewhere, so that it has no score.
    """

    sizes: ClassVar[dict[str, int]] = {"train": 50_000, "validation": 10_000, "test": 20_000}
    source = "formula"
    licence = "public domain"
    transformations = "Independent exact samples, rounded to float32."
    log_density_error: ClassVar[float] = 0.0
    entropy_method: ClassVar[str]
    edges: ClassVar[bool] = False

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent exact samples, (n, *shape) float64."""

    @abstractmethod
    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Normalised log-density, of states the log-probability, in nats at ``x`` (n, *shape), (n,) float64; -inf outside the support."""

    def score(self, x: np.ndarray) -> np.ndarray:
        """∇ log p at ``x`` (n, *shape), shape of ``x``, float64.

        Raises:
            ValueError: if there is none, as of a law of states.
        """
        raise ValueError(f"{self.name} is a law of states and therefore has no score")

    @abstractmethod
    def entropy(self) -> float:
        """Entropy in nats, to 1e-6 or better; of a density the differential one."""

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """Samples of a seed that depends on the name only; ``raw`` is ignored."""
        rng = numpy_generator(0, "data", self.name)
        return {split: self.sample(self.sizes[split], rng).astype(np.float32) for split in SPLITS}


class Density(KnownLaw):
    """A distribution on the plane with a known density.

    Attributes:
        reach: the square [-reach, reach]² holds all mass but 1e-9.
        step: step of the grid that resolves the density, for its entropy.
        modes: (k, 2) centres, where nearness to a centre tells the modes apart: exactly 1/k of the mass lies nearest to each, and
            likewise of that part of the mass where the density exceeds any given level.
    """

    kind = "density"
    shape = (2,)
    reach: ClassVar[float]
    step: ClassVar[float]
    entropy_method = "midpoint rule on a square grid"
    modes: ClassVar[np.ndarray | None] = None

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
