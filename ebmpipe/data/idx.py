"""Image sets in the idx format of MNIST: four files, gzipped or not, verified by the checksums of their unpacked bytes."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np

from ebmpipe.data.base import DataSet
from ebmpipe.data.fetching import UnusableRawData, obtain
from ebmpipe.seeding import numpy_generator

#: The four files, as every set of this format names them.
IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}

#: What every gzip file begins with; an idx file begins with two zeros. Servers and people zip and unzip without renaming.
GZIP = b"\x1f\x8b"


def unpack(path: Path, sha256: str, source: str = "") -> bytes:
    """The bytes of ``path``, unzipped if they are zipped.

    Checksums are those of the unpacked bytes, because the same files are found compressed in several ways.

    Args:
        path: the file.
        sha256: the checksum of the published file.
        source: what messages call the file, by default its path.

    Raises:
        UnusableRawData: if they cannot be read or unpacked, or their checksum is another.
    """
    source = source or str(path)
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UnusableRawData(f"{source} cannot be unpacked ({error})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UnusableRawData(f"{source} is not the published file: the SHA-256 of its unpacked bytes is {found}, not {sha256}")
    return content


def parse(content: bytes) -> np.ndarray:
    """The array in the bytes of an idx file of unsigned bytes: magic number 0, 0, 8, rank, then big-endian sizes, then the values.

    Raises:
        UnusableRawData: if they are no such file, or not as many as their sizes say.
    """
    rank = content[3] if content.startswith(b"\0\0\x08") and len(content) > 3 else 0
    begin = 4 + 4 * rank
    if rank == 0 or len(content) < begin:
        raise UnusableRawData(f"its first bytes, {content[:4].hex(' ') or 'none'}, do not begin an idx file of unsigned bytes")
    sizes = struct.unpack(f">{rank}I", content[4:begin])
    if len(content) - begin != prod(sizes):
        raise UnusableRawData(f"its header announces {'x'.join(map(str, sizes))} values, but {len(content) - begin} follow")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(sizes)


class IdxImages(DataSet):
    """A labelled set of 28 x 28 grey images with 60,000 training and 10,000 test images.

    Attributes:
        sha256: file name without .gz -> checksum of its unpacked bytes.
    """

    kind = "images"
    shape = (1, 28, 28)
    levels = 256
    classes = 10
    sizes: ClassVar[dict[str, int]] = {"train": 55_000, "validation": 5_000, "test": 10_000}
    transformations = (
        "Levels 0 to 255 kept; the training images shuffled with a fixed seed, the last 5,000 of them held out for validation."
    )
    raw_choices: ClassVar[tuple[tuple[str, ...], ...]] = ((*IMAGES.values(), *LABELS.values()),)
    raw_endings = ("", ".gz")
    mirror_ending = ".gz"
    sha256: ClassVar[dict[str, str]]

    def content(self, name: str, raw: Path | None) -> bytes:
        """The unpacked bytes of one of the four files, from the first folder that has it, else from the network.

        A damaged file in the default folder for downloads is replaced; one in a folder of the user's is left as it is and refused.

        Raises:
            UnusableRawData: if it cannot be had, or is not the published one.
        """
        return obtain(self, name, raw, lambda path, source: unpack(path, self.sha256[name], source))

    def array(self, name: str, raw: Path | None, count: int) -> np.ndarray:
        """The content of one of the four files, ``count`` images or labels.

        Raises:
            UnusableRawData: if it cannot be had, or is not the published one.
        """
        content = self.content(name, raw)
        try:
            array = parse(content)
        except UnusableRawData as error:
            raise UnusableRawData(f"{self.name}, {name}: {error}") from error
        if len(array) != count:
            raise UnusableRawData(f"{self.name}, {name}: it holds {len(array)} examples, not {count}")
        return array

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """The three splits and their labels, read from the raw files."""
        counts = {"train": self.sizes["train"] + self.sizes["validation"], "test": self.sizes["test"]}
        images = {split: self.array(name, raw, counts[split])[:, None] for split, name in IMAGES.items()}
        labels = {split: self.array(name, raw, counts[split]).astype(np.int64) for split, name in LABELS.items()}
        order = numpy_generator(0, "data", self.name).permutation(len(images["train"]))
        out = {"test": images["test"].copy(), "test_labels": labels["test"]}
        for split, chosen in (("train", order[: self.sizes["train"]]), ("validation", order[self.sizes["train"] :])):
            out[split], out[f"{split}_labels"] = images["train"][chosen], labels["train"][chosen]
        return out
