"""Images in a zip archive or a folder, read by name one at a time: nothing is unpacked to the disk."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebmpipe.data import zips
from ebmpipe.data.decoding import SUFFIXES
from ebmpipe.data.fetching import UnusableRawData

#: Bytes of an image file at most; the largest of the sets here have 5 MB.
LARGEST = 2**26


class ImageFiles(ABC):
    """Where images are.

    Attributes:
        names: of all images, with slashes, sorted.
    """

    names: list[str]

    @abstractmethod
    def content(self, name: str) -> bytes:
        """The bytes of an image's file.

        Raises:
            UnusableRawData: if it cannot be read whole, or is larger than any image.
        """

    @abstractmethod
    def called(self, name: str) -> str:
        """What messages call it."""


class Folder(ImageFiles):
    """The images in a folder itself, not below it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = sorted(one.name for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())

    def called(self, name: str) -> str:
        return str(self.path / name)

    def content(self, name: str) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise UnusableRawData(f"{self.called(name)} cannot be read ({error.strerror})") from error
        return bounded(content, self.called(name))


class Zip(ImageFiles):
    """The images in a zip archive. Names are looked up and never become paths."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive, self.path = archive, path
        self.names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in SUFFIXES)

    def called(self, name: str) -> str:
        return f"{self.path}: {name}"

    def content(self, name: str) -> bytes:
        try:
            with self.archive.open(name) as file:  # its checksum is looked at when all of it was read
                return bounded(file.read(LARGEST + 1), self.called(name))
        except zips.FAULTS as error:
            raise UnusableRawData(f"{self.called(name)} cannot be unpacked ({error})") from error


def bounded(content: bytes, called: str) -> bytes:
    """``content``, unless it is larger than any image."""
    if len(content) > LARGEST:
        raise UnusableRawData(f"{called} is larger than {LARGEST >> 20} MiB, which no image of this set is")
    return content


@contextmanager
def image_files(path: Path) -> Iterator[ImageFiles]:
    """The images in a zip archive, or in a folder.

    Raises:
        UnusableRawData: if it cannot be opened, or is not to be trusted.
    """
    if path.is_dir():
        yield Folder(path)
        return
    with zips.opened(path) as archive:
        yield Zip(archive, path)
