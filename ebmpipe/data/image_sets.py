"""Published sets of many photographs in compressed files: decoded, cropped and shrunk one at a time."""

from __future__ import annotations

import hashlib
import io
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.decoding import LEVELS, UnusableImage, decoded, levels_of
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.splitting import layout_of

#: Images that are handed on at once.
TOGETHER = 64


@dataclass(frozen=True)
class Photographs:
    """The images of a set, as its files hold them.

    Attributes:
        splits: split -> the keys of its images, in their order.
        content: from a key to the bytes of the image's file.
        called: from a key to what messages call it.
    """

    splits: Mapping[str, Sequence[Any]]
    content: Callable[[Any], bytes]
    called: Callable[[Any], str]


class ImageSet(DataSet):
    """A set of unlabelled colour photographs whose files have to be fetched by hand, as their terms do not let a program do it.

    Attributes:
        origin: where they are had.
    """

    kind = "images"
    levels = LEVELS
    duplicates = None
    run_on_original = False
    decodes = True
    origin: ClassVar[str]

    def __init__(self) -> None:
        self._read = hashlib.sha256()

    @abstractmethod
    def photographs(self, found: Mapping[str, Path]) -> AbstractContextManager[Photographs]:
        """Open the set, given one of `raw_choices` that is at hand.

        Raises:
            UnusableRawData: if it is not the published one.
        """

    @abstractmethod
    def shaped(self, image: Image.Image, called: str) -> Image.Image:
        """An image cropped and shrunk.

        Raises:
            UnusableImage: if it is not of the size that the set's images have.
        """

    def at_hand(self, raw: Path | None) -> dict[str, Path]:
        """The raw files.

        Raises:
            UnusableRawData: if they are nowhere; it says where to get them.
        """
        found = self.raw_found(raw)
        if not found:
            either = "; or ".join(" and ".join(names) for names in self.raw_choices)
            places = ", ".join(map(str, self.folders(raw)))
            raise UnusableRawData(
                f"{self.name} needs {either}, which is not in {places}; {self.origin}, and name the folder of raw data by "
                "EBMPIPE_DATA_DIR, raw_data in the config, or --raw"
            )
        return found

    def layout(self, raw: Path | None) -> Layout:
        self.at_hand(raw)
        return layout_of(self.sizes, self.shape, labelled=False)

    def parts(self, raw: Path | None) -> Iterator[Part]:
        with self.photographs(self.at_hand(raw)) as photographs:
            for split in SPLITS:
                keys = photographs.splits[split]
                for begin in range(0, len(keys), TOGETHER):
                    chosen = keys[begin : begin + TOGETHER]
                    yield split, slice(begin, begin + len(chosen)), np.stack([self._levels(photographs, key) for key in chosen])

    def _levels(self, photographs: Photographs, key: Any) -> np.ndarray:
        content, called = photographs.content(key), photographs.called(key)
        self._read.update(hashlib.sha256(content).digest())
        try:
            image = decoded(io.BytesIO(content), called).convert("RGB")
            return levels_of(self.shaped(image, called))
        except UnusableImage as error:
            raise UnusableRawData(f"{self.name}: {error}") from error

    def about(self) -> dict[str, Any]:
        """``images_sha256``: checksum of the encoded images in the order of the splits, the same for an archive and a folder."""
        return {"images_sha256": self._read.hexdigest()}
