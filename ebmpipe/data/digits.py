"""Handwritten digits, 8 x 8, that come with scikit-learn: images without a download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.dealing import by_class, drawn
from ebmpipe.seeding import numpy_generator


class Digits(DataSet):
    """1,797 handwritten digits of 13 writers as 8 x 8 counts from 0 to 16, a pixel being the number of ink dots in a 4 x 4 block."""

    name = "digits"
    revision = 1
    title = "Digits 8x8"
    kind = "images"
    shape = (1, 8, 8)
    levels = 17
    classes = 10
    source = (
        "E. Alpaydin and C. Kaynak 1998, Optical Recognition of Handwritten Digits (test part), UCI Machine Learning Repository, "
        "as shipped by scikit-learn"
    )
    licence = "CC BY 4.0"
    transformations = (
        "Counts 0 to 16 kept as integers; shuffled with a fixed seed and split in proportion to the classes, "
        "so that the same writers are in every split."
    )
    sizes: ClassVar[dict[str, int]] = {"train": 1_000, "validation": 397, "test": 400}
    # So few pixels need no convolutions. As many samples as validation images, because a Fréchet distance depends on the number.
    starting_point: ClassVar[Mapping[str, Any]] = {
        "network": {"name": "mlp", "settings": {"width": 256, "depth": 2}},
        "sampling": {"n": sizes["validation"]},
        "long_run": {"chains": 128},
    }

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """The three splits and their labels; ``raw`` is ignored."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images, labels = pixels.astype(np.uint8).reshape(-1, *self.shape), labels.astype(np.int64)
        rng = numpy_generator(0, "data", self.name)
        rest = by_class(labels, rng)
        out: dict[str, np.ndarray] = {}
        for split in SPLITS:
            indices, rest = drawn(rest, self.sizes[split], rng)
            out[split], out[f"{split}_labels"] = images[indices], labels[indices]
        return out
