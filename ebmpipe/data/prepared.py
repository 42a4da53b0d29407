"""A prepared data set as the other stages read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ebmpipe.array_file import ArrayFile
from ebmpipe.files import CorruptFile, read_signed, sha256
from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.data.dequantised import Dequantised


class UnusableData(ValueError):
    """Raised when prepared data are missing, incomplete or altered; the message names the file and the remedy."""


def to_model_space(values: Any, levels: int, u: Any) -> Any:
    """Uniform dequantisation x = 2 (v + u) / levels - 1, in [-1, 1): the one definition of an image's model space.

    Plain arithmetic, so that it takes numpy arrays and torch tensors alike.

    Args:
        values: integer levels v in 0 … levels - 1.
        levels: number of grey levels.
        u: noise in [0, 1) of the same shape, or 1/2 for the middle of each level.
    """
    return 2 * (values + u) / levels - 1


def read_card(folder: Path) -> dict[str, Any]:
    """The content of ``folder/card.json``.

    Raises:
        UnusableData: if it is not what `ebmpipe prepare` wrote.
    """
    path = folder / "card.json"
    try:
        card = read_signed(path)
        DataSpec.from_card(card, folder)
    except CorruptFile as error:
        raise UnusableData(f"{error}; run `ebmpipe prepare` again") from error
    except (KeyError, TypeError) as error:
        raise UnusableData(f"{path} is no data card of this version ({error!r}); run `ebmpipe prepare` again") from error
    if not {"data_sha256", "revision"} <= card.keys():
        raise UnusableData(f"{path} is no data card of this version; run `ebmpipe prepare` again")
    return card


#: Numbers that `Prepared.in_parts` makes at once where nothing else is said.
TOGETHER = 2**22


class Prepared:
    """The folder that `ebmpipe prepare` wrote; opening it checks the card against its own checksum, and the data against the card.

    Arrays are mapped, not read: what is looked at comes into memory, and is forgotten when the memory is needed. Opening reads the whole
    file once, for its checksum, at the speed of the disk or of SHA-256, whichever is less (about a second per gigabyte).

    Args:
        folder: where the files lie.
        name: the data set that they must be of; any if None.

    Attributes:
        folder: where the files lie.
        card: the content of ``card.json``.
        spec: the part of the card that models read.

    Raises:
        UnusableData: if a file is missing, damaged, or not the one that the card describes.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self._file = folder / "data.safetensors"
        for path in (folder / "card.json", self._file):
            if not path.is_file():
                raise UnusableData(f"{path} does not exist; make it with `ebmpipe prepare`")
        self.card = read_card(folder)
        self.spec = DataSpec.from_card(self.card, folder)
        if name not in (None, self.spec.name):
            raise UnusableData(f"{folder} holds {self.spec.name}, not {name}; run `ebmpipe prepare` again")
        if sha256(self._file) != self.card["data_sha256"]:
            raise UnusableData(f"{self._file} is not the file that card.json describes; run `ebmpipe prepare` again")
        self._arrays = ArrayFile(self._file)

    def split(self, name: str) -> np.ndarray:
        """Split ``train``, ``validation`` or ``test`` as stored, mapped, read-only: (n, *shape) float32 vectors or uint8 levels.

        Raises:
            UnusableData: if there is no such split.
        """
        return self._mapped(name)

    def labels(self, name: str) -> np.ndarray:
        """Class labels of a split, (n,) int64, mapped, read-only.

        Raises:
            UnusableData: if the data set has no labels.
        """
        return self._mapped(f"{name}_labels")

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays as stored, by name, mapped, read-only."""
        return {key: self._mapped(key) for key in self._arrays.places}

    def model_space(self, split: str, rng: np.random.Generator) -> np.ndarray:
        """A split as models see it, (n, *shape) float64: images dequantised with fresh noise of ``rng``, vectors as they are."""
        made = np.empty(self.split(split).shape)
        begin = 0
        for part in self.in_parts(split, rng):
            made[begin : begin + len(part)] = part
            begin += len(part)
        return made

    def in_parts(self, split: str, rng: np.random.Generator, together: int | None = None) -> Iterator[np.ndarray]:
        """What `model_space` gives, the same numbers, ``together`` examples at a time: so that a large split need not fit in memory."""
        values = self.split(split)
        together = together or max(1, TOGETHER // self.spec.dimension)
        for start in range(0, len(values), together):
            part = values[start : start + together]
            if self.spec.levels is None:
                yield part.astype(np.float64)
            else:
                yield np.asarray(to_model_space(part, self.spec.levels, rng.random(part.shape)))

    def view(self, split: str, *names: str) -> np.ndarray | Dequantised:
        """A split as models see it: images dequantised when they are looked at, by the noise of the stream ``names``; vectors float64."""
        from ebmpipe.data.dequantised import Dequantised

        values = self.split(split)
        return values.astype(np.float64) if self.spec.levels is None else Dequantised(values, self.spec.levels, *names)

    def _mapped(self, key: str) -> np.ndarray:
        if key not in self._arrays.places:
            raise UnusableData(f"{self._file} has no array {key!r}; it has {', '.join(sorted(self._arrays.places))}")
        return self._arrays.array(key)
