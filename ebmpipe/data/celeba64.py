"""CelebA, aligned and cropped, 64 x 64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from PIL import Image

from ebmpipe.data.base import SPLITS
from ebmpipe.data.checksums import checked_file
from ebmpipe.data.decoding import FILTERED, UnusableImage, cropped, resized
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.image_files import image_files
from ebmpipe.data.image_sets import ImageSet, Photographs

ARCHIVE, PARTITION = "img_align_celeba.zip", "list_eval_partition.txt"
#: (height, width) of an aligned image, and the side of its middle that is kept.
ALIGNED, KEPT = (218, 178), 148


class CelebA64(ImageSet):
    """202,599 faces of 10,177 people, in the official partition, which no person crosses."""

    name = "celeba64"
    revision = 1
    title = "CelebA 64x64"
    shape = (3, 64, 64)
    sizes: ClassVar[dict[str, int]] = {"train": 162_770, "validation": 19_867, "test": 19_962}
    source = "Z. Liu, P. Luo, X. Wang and X. Tang 2015, Deep Learning Face Attributes in the Wild (aligned and cropped images)"
    licence = "for non-commercial research only; the images are not to be passed on"
    transformations = (
        f"The middle {KEPT} × {KEPT} of each aligned image of 218 × 178, shrunk to 64 × 64 by {FILTERED}; levels 0 to 255; "
        "the official partition."
    )
    origin = "they are published at https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, under terms to be agreed to: fetch them there"
    raw_choices: ClassVar[tuple[tuple[str, ...], ...]] = ((ARCHIVE, PARTITION), ("img_align_celeba/000001.jpg", PARTITION))
    raw_folders: ClassVar[tuple[str, ...]] = ("celeba",)
    #: As torchvision states them.
    checksums: ClassVar[dict[str, str]] = {
        ARCHIVE: "md5:00d2c5bc6d35e252742224ab0c1e8fcb",
        PARTITION: "md5:d32c9cbf5e040fd4025c592c306e6668",
    }

    @classmethod
    def remarks(cls, raw: Path | None) -> list[str]:
        found = cls.raw_found(raw)
        unchecked = "the images came from a folder, of which no checksum is published"
        return super().remarks(raw) + ([unchecked] if found and ARCHIVE not in found else [])

    @contextmanager
    def photographs(self, found: Mapping[str, Path]) -> Iterator[Photographs]:
        for name, path in found.items():
            if name in self.checksums:
                checked_file(path, self.checksums[name], str(path))
        place = found[ARCHIVE] if ARCHIVE in found else next(path for name, path in found.items() if name != PARTITION).parent
        splits = self.partition(found[PARTITION])
        with image_files(place) as images:
            full = {Path(name).name: name for name in images.names}
            for number in (number for numbers in splits.values() for number in numbers):
                if number not in full:
                    raise UnusableRawData(f"{place} lacks {number}, which {PARTITION} names")
            yield Photographs(
                {split: [full[number] for number in numbers] for split, numbers in splits.items()}, images.content, images.called
            )

    def partition(self, path: Path) -> dict[str, list[str]]:
        """The names of the images of every split: lines of a name and 0, 1 or 2.

        Raises:
            UnusableRawData: if they say something else.
        """
        splits: dict[str, list[str]] = {split: [] for split in SPLITS}
        for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = line.split()
            if len(words) != 2 or words[1] not in ("0", "1", "2"):
                raise UnusableRawData(f"{path}, line {place}: {line!r} is not the name of an image and 0, 1 or 2")
            splits[SPLITS[int(words[1])]].append(words[0])
        if (counts := {split: len(names) for split, names in splits.items()}) != self.sizes:
            raise UnusableRawData(f"{path} has {counts}, not {self.sizes}")
        return splits

    def shaped(self, image: Image.Image, called: str) -> Image.Image:
        if (image.height, image.width) != ALIGNED:
            raise UnusableImage(f"{called} is {image.height} × {image.width}, and an aligned image is {ALIGNED[0]} × {ALIGNED[1]}")
        return resized(cropped(image, (KEPT, KEPT), called), (64, 64), called)
