"""A prepared data set as the other stages read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ebmpipe.files import CorruptFile, read_arrays, read_signed, sha256
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


class Prepared:
    """The folder that `ebmpipe prepare` wrote; opening it checks the card against its own checksum, and the data against the card.

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

    def split(self, name: str) -> np.ndarray:
        """Split ``train``, ``validation`` or ``test`` as stored: (n, *shape) float32 vectors or uint8 levels."""
        return self._read(name)

    def labels(self, name: str) -> np.ndarray:
        """Class labels of a split, (n,) int64.

        Raises:
            UnusableData: if the data set has no labels.
        """
        return self._read(f"{name}_labels")

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays as stored, by name."""
        return read_arrays(self._file)[0]

    def model_space(self, split: str, rng: np.random.Generator) -> np.ndarray:
        """A split as models see it, (n, *shape) float64: images dequantised with fresh noise of ``rng``, vectors as they are."""
        values = self.split(split)
        if self.spec.levels is None:
            return values.astype(np.float64)
        return np.asarray(to_model_space(values, self.spec.levels, rng.random(values.shape)))

    def view(self, split: str, *names: str) -> np.ndarray | Dequantised:
        """A split as models see it: images dequantised when they are looked at, by the noise of the stream ``names``; vectors float64."""
        from ebmpipe.data.dequantised import Dequantised

        values = self.split(split)
        return values.astype(np.float64) if self.spec.levels is None else Dequantised(values, self.spec.levels, *names)

    def _read(self, key: str) -> np.ndarray:
        from safetensors import safe_open

        # One array at a time: a run that trains needs no test images in memory.
        with safe_open(self._file, framework="numpy") as file:
            keys = sorted(file.keys())
            if key not in keys:
                raise UnusableData(f"{self._file} has no array {key!r}; it has {', '.join(keys)}")
            return np.asarray(file.get_tensor(key))
