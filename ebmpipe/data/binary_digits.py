"""Handwritten digits, 8 x 8, in black and white."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.digits import Digits

#: A pixel is ink, 1, from this many of its 16 dots on; else -1.
INK = 8


class BinaryDigits(DataSet):
    """`Digits`, every pixel of which is 1 where at least half of its dots are ink, else -1; without their labels."""

    name = "binary_digits"
    revision = 1
    title = "Binary digits 8x8"
    kind = "binary"
    shape = Digits.shape
    source = Digits.source
    licence = Digits.licence
    transformations = Digits.transformations + " Counts of 8 and more became 1, all others -1."
    sizes: ClassVar[dict[str, int]] = Digits.sizes
    duplicates = 31  # strokes that differ in shades alone
    # No 64 pixels interact in pairs alone. A hundred sweeps of the pixels; as many samples as validation images.
    starting_point: ClassVar[Mapping[str, Any]] = {
        "network": {"name": "mlp", "settings": {"width": 256, "depth": 2}},
        "sampling": {"n": sizes["validation"], "steps": 6400},
    }

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """The three splits, float32; ``raw`` is ignored."""
        levels = Digits().arrays(raw)
        return {split: np.where(levels[split] >= INK, 1, -1).astype(np.float32) for split in SPLITS}
