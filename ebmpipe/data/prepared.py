"""A prepared data set as the other stages read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe.files import read_json, sha256
from ebmpipe.spec import DataSpec


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


class Prepared:
    """The folder that `ebmpipe prepare` wrote; opening it checks ``data.safetensors`` against its card.

    Attributes:
        folder: where the files lie.
        card: the content of ``card.json``.
        spec: the part of the card that models read.

    Raises:
        UnusableData: if a file is missing, damaged, or not the one that the card describes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "data.safetensors"
        for path in (folder / "card.json", self._file):
            if not path.is_file():
                raise UnusableData(f"{path} does not exist; make it with `ebmpipe prepare`")
        try:
            self.card: dict[str, Any] = read_json(folder / "card.json")
            expected = self.card["sha256"]
            self.spec = DataSpec.from_card(folder)
        except (ValueError, KeyError, TypeError) as error:
            raise UnusableData(f"{folder / 'card.json'} is no data card ({error!r}); run `ebmpipe prepare` again") from error
        if sha256(self._file) != expected:
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

    def model_space(self, split: str, rng: np.random.Generator) -> np.ndarray:
        """A split as models see it, (n, *shape) float64: images dequantised with fresh noise of ``rng``, vectors as they are."""
        values = self.split(split)
        if self.spec.levels is None:
            return values.astype(np.float64)
        return np.asarray(to_model_space(values, self.spec.levels, rng.random(values.shape)))

    def _read(self, key: str) -> np.ndarray:
        from safetensors import safe_open

        # One array at a time: a run that trains needs no test images in memory.
        with safe_open(self._file, framework="numpy") as file:
            keys = sorted(file.keys())
            if key not in keys:
                raise UnusableData(f"{self._file} has no array {key!r}; it has {', '.join(keys)}")
            return np.asarray(file.get_tensor(key))
