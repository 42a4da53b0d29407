"""Patches of the two sample photographs that come with scikit-learn: natural images without a download."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.resizing import resized
from ebmpipe.seeding import numpy_generator

#: Sides of the squares that are cut out, in pixels of the photographs: each is resized to 32.
SMALLEST, LARGEST = 32, 96
#: Columns of a photograph, 640 wide, that each split is cut from: no pixel is in two of them.
STRIPS = {"train": (0, 384), "validation": (384, 500), "test": (500, 640)}


class Photos(DataSet):
    """Squares of 32 to 96 pixels at random places of a picture of a temple and one of a flower, as 32 x 32 colours.

    Two photographs are no sample of natural images: the set is there to be told from others, not to be learnt.
    """

    name = "photos"
    revision = 1
    title = "Photo patches"
    kind = "images"
    shape = (3, 32, 32)
    levels = 256
    source = "china.jpg by danielbuechele and flower.jpg by vultilion, as shipped by scikit-learn (Pedregosa et al. 2011)"
    licence = "CC BY 2.0"
    transformations = (
        "Squares of 32 to 96 pixels at random places, half from each photograph, averaged down to 32 x 32; the splits are cut from "
        "different columns of the photographs."
    )
    sizes: ClassVar[dict[str, int]] = {"train": 3_000, "validation": 500, "test": 1_000}

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """The three splits; ``raw`` is ignored."""
        from sklearn.datasets import load_sample_images

        photographs = load_sample_images().images
        rng = numpy_generator(0, "data", self.name)
        return {split: np.stack([self.patch(photographs[i % 2], STRIPS[split], rng) for i in range(self.sizes[split])]) for split in SPLITS}

    def patch(self, photograph: np.ndarray, strip: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """One patch (3, 32, 32) uint8 of a photograph (h, w, 3), within the columns of ``strip``."""
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        top = int(rng.integers(0, photograph.shape[0] - side + 1))
        left = int(rng.integers(strip[0], strip[1] - side + 1))
        square = np.moveaxis(photograph[top : top + side, left : left + side], -1, 0)[None]
        return np.asarray(np.rint(resized(square, *self.shape[1:]))[0].astype(np.uint8))
