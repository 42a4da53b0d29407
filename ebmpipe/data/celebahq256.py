"""CelebA-HQ, 256 x 256."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from PIL import Image

from ebmpipe.data.decoding import FILTERED, fitted
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.image_files import image_files
from ebmpipe.data.image_sets import ImageSet, Photographs
from ebmpipe.seeding import numpy_generator

#: Name of an image's file: its number, perhaps with zeros or imgHQ before it.
NUMBERED = re.compile(r"(?:imgHQ)?(\d{1,6})\.(?:png|jpe?g|webp)", re.IGNORECASE)


class CelebAHQ256(ImageSet):
    """30,000 faces of CelebA, restored and enlarged to 1024 x 1024 by its authors, here shrunk to 256 x 256."""

    name = "celebahq256"
    revision = 1
    title = "CelebA-HQ 256x256"
    shape = (3, 256, 256)
    sizes: ClassVar[dict[str, int]] = {"train": 25_000, "validation": 2_000, "test": 3_000}
    source = "T. Karras, T. Aila, S. Laine and J. Lehtinen 2018, Progressive Growing of GANs for Improved Quality, Stability, and Variation"
    licence = "that of CelebA, for non-commercial research only; what was added to it: CC BY-NC 4.0"
    transformations = (
        f"Shrunk to 256 × 256 by {FILTERED} where larger; levels 0 to 255; by number, the last 3,000 for testing, and 2,000 of the first "
        "27,000 held out for validation with a fixed seed."
    )
    origin = "see https://github.com/tkarras/progressive_growing_of_gans for how they are made, or fetch CelebAMask-HQ, which holds them"
    raw_choices: ClassVar[tuple[tuple[str, ...], ...]] = (
        *(("celebahq256.zip",), ("celeba_hq_256.zip",), ("data256x256.zip",), ("CelebA-HQ-img.zip",), ("CelebAMask-HQ.zip",)),
        *(("celeba_hq_256/00000.jpg",), ("data256x256/00001.jpg",), ("CelebA-HQ-img/0.jpg",), ("CelebAMask-HQ/CelebA-HQ-img/0.jpg",)),
    )
    raw_folders: ClassVar[tuple[str, ...]] = ("celebahq",)

    @classmethod
    def remarks(cls, raw: Path | None) -> list[str]:
        return [*super().remarks(raw), "no checksum of the images is published, which go about in several encodings"]

    @contextmanager
    def photographs(self, found: Mapping[str, Path]) -> Iterator[Photographs]:
        (path,) = found.values()
        place = path if path.suffix == ".zip" else path.parent
        total = sum(self.sizes.values())
        with image_files(place) as images:
            by_number: dict[int, str] = {}
            for name in images.names:
                number = NUMBERED.fullmatch(Path(name).name)
                if number is not None and (other := by_number.setdefault(int(number[1]), name)) != name:
                    raise UnusableRawData(f"{place} has two images of number {int(number[1])}: {other} and {name}")
            names = [by_number[number] for number in sorted(by_number)]
            if not by_number or len(names) != total or max(by_number) - min(by_number) != total - 1:
                raise UnusableRawData(f"{place} holds {len(names)} images named by number, not {total} whose numbers follow each other")
            rest, test = names[: total - self.sizes["test"]], names[total - self.sizes["test"] :]
            order = numpy_generator(0, "data", self.name).permutation(len(rest))
            held_out = set(order[: self.sizes["validation"]].tolist())
            splits = {
                "train": [name for place, name in enumerate(rest) if place not in held_out],
                "validation": [name for place, name in enumerate(rest) if place in held_out],
                "test": test,
            }
            yield Photographs(splits, images.content, images.called)

    def shaped(self, image: Image.Image, called: str) -> Image.Image:
        return fitted(image, (256, 256), called)
