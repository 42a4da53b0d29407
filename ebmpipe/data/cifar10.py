"""CIFAR-10."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.archives import members
from ebmpipe.data.base import DataSet
from ebmpipe.data.checksums import checked, checked_file
from ebmpipe.data.fetching import UnusableRawData, obtain
from ebmpipe.data.pickled_batches import read_batch
from ebmpipe.data.splitting import Splitting, layout_of

#: Bytes of an image: three planes of 32 rows of 32 pixels, red, green and blue.
PIXELS = 3 * 32 * 32

#: Bytes that a batch has at most, for each image, with a label and in the Python version a file name beside the pixels, and for itself.
RECORD, BESIDE = PIXELS + 100, 1_000

#: The five training batches and the test batch, as the binary and the Python version name them, in the source's order.
BINARY = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
PYTHON = tuple(name.removesuffix(".bin") for name in BINARY)

#: Archive -> folder in it, and its batches.
ARCHIVES = {
    "cifar-10-binary.tar.gz": ("cifar-10-batches-bin", BINARY),
    "cifar-10-python.tar.gz": ("cifar-10-batches-py", PYTHON),
}


class CIFAR10(DataSet):
    """Photographs of animals and vehicles, 32 x 32 in colour, a labelled subset of the 80 million tiny images.

    Attributes:
        checksums: of every raw file, as published; see docs/data.md for by whom.
        per_batch: images of a batch.
        held_out: images of the validation split; and of the test split, where the test batch is not at hand.
    """

    name = "cifar10"
    revision = 1
    title = "CIFAR-10"
    kind = "images"
    shape = (3, 32, 32)
    levels = 256
    classes = 10
    source = "A. Krizhevsky 2009, Learning multiple layers of features from tiny images, technical report, University of Toronto"
    licence = "not stated by the authors; free to download, and they ask to be cited"
    transformations = (
        "Levels 0 to 255 kept; the training images shuffled with a fixed seed, the last 5,000 of them held out for validation."
    )
    sizes: ClassVar[dict[str, int]] = {"train": 45_000, "validation": 5_000, "test": 10_000}
    duplicates = None
    raw_choices = (BINARY, PYTHON, *((archive,) for archive in ARCHIVES), BINARY[:5], PYTHON[:5])
    raw_folders = (
        "cifar10",
        "cifar-10-batches-bin",
        "cifar-10-batches-py",
        *(f"cifar10/{folder}" for folder in ("cifar-10-batches-bin", "cifar-10-batches-py")),
        ".",
    )
    mirrors = ("https://www.cs.toronto.edu/~kriz/",)
    checksums: ClassVar[Mapping[str, str]] = {
        "cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a",
        "data_batch_1.bin": "sha256:cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "sha256:a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "sha256:bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "sha256:014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "sha256:755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "sha1:67eb016db431130d61cd03c7ad570b013799c88c",
        "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
        "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
        "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "md5:40351d587109b95175f43aff81a1287e",
    }
    per_batch: ClassVar[int] = 10_000
    held_out: ClassVar[int] = 5_000
    # Four pixels a side before the last layer, as on 28 x 28 with half the channels.
    starting_point: ClassVar[Mapping[str, Any]] = {
        "network": {"name": "conv", "settings": {"widths": [64, 128, 256]}},
    }

    @classmethod
    def without_test(cls, raw: Path | None) -> bool:
        """Whether the five training batches are all that is at hand."""
        return set(cls.raw_found(raw)) in (set(BINARY[:5]), set(PYTHON[:5]))

    @classmethod
    def sizes_found(cls, raw: Path | None) -> dict[str, int]:
        if not cls.without_test(raw):
            return dict(cls.sizes)
        return {"train": 5 * cls.per_batch - 2 * cls.held_out, "validation": cls.held_out, "test": cls.held_out}

    @classmethod
    def remarks(cls, raw: Path | None) -> list[str]:
        held = f"only the five training batches were at hand: the last {cls.held_out:,} training images are the test split"
        return [*super().remarks(raw), *([held] if cls.without_test(raw) else [])]

    def layout(self, raw: Path | None) -> Layout:
        return layout_of(self.sizes_found(raw), self.shape, labelled=True)

    def parts(self, raw: Path | None) -> Iterator[Part]:
        splitting = Splitting(self.name, self.sizes_found(raw))
        for name, content, source in self.files(raw):
            images, labels = self.batch(name, content, source)
            yield from splitting.parts((BINARY if name in BINARY else PYTHON).index(name) * self.per_batch, images, labels)

    def files(self, raw: Path | None) -> Iterator[tuple[str, bytes, str]]:
        """Name, content and origin of every batch, checked, from the best that is at hand, else from a download.

        Raises:
            UnusableRawData: if it cannot be had, or is not the published one.
        """
        found = self.raw_found(raw)
        archive = next((name for name in ARCHIVES if name in found or not found), None)
        yield from self.loose(found) if archive is None else self.packed(archive, raw)

    def loose(self, found: Mapping[str, Path]) -> Iterator[tuple[str, bytes, str]]:
        """`files` that lie there one by one: name -> path. They are the user's, whichever folder they are in: nobody can download them."""
        for name, path in found.items():
            try:
                content = checked(path.read_bytes(), self.checksums[name], str(path))
            except UnusableRawData as error:
                remedy = "it is left as it is: replace it, or remove the batches to have them downloaded"
                raise UnusableRawData(f"{error}; {remedy}") from error
            yield name, content, str(path)

    def packed(self, archive: str, raw: Path | None) -> Iterator[tuple[str, bytes, str]]:
        """`files` in an archive, which is downloaded where it is not at hand."""
        path = obtain(self, archive, raw, lambda path, source: checked_file(path, self.checksums[archive], source))
        folder, names = ARCHIVES[archive]
        limits = dict.fromkeys((f"{folder}/{name}" for name in names), self.per_batch * RECORD + BESIDE)
        for member, content in members(path, limits):
            name, source = member.removeprefix(f"{folder}/"), f"{member} in {path}"
            yield name, checked(content, self.checksums[name], source), source

    def batch(self, name: str, content: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of one file.

        Raises:
            UnusableRawData: if it is no such file.
        """
        if name in PYTHON:
            images, labels = read_batch(content, (self.per_batch, PIXELS), source)
        else:
            # A byte for the label, then the pixels.
            if len(content) != self.per_batch * (1 + PIXELS):
                raise UnusableRawData(f"{source} has {len(content)} bytes, not {self.per_batch} records of {1 + PIXELS}")
            records = np.frombuffer(content, np.uint8).reshape(self.per_batch, 1 + PIXELS)
            images, labels = records[:, 1:], records[:, 0].astype(np.int64)
        return images.reshape(-1, *self.shape), labels
