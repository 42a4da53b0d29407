"""Image sets in the idx format of MNIST: four files, gzipped or not, verified by the checksums of their unpacked bytes."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from ebmpipe.data.base import DataSet
from ebmpipe.seeding import numpy_generator

#: The four files, as every set of this format names them.
IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


class UnusableRawData(ValueError):
    """Raised when raw files are missing or not the published ones; the message names the file and where it was looked for."""


def unpack(path: Path, sha256: str) -> bytes:
    """The bytes of ``path``, unzipped if need be.

    Checksums are those of the unpacked bytes, because the same files are found compressed in several ways.

    Raises:
        UnusableRawData: if they cannot be unpacked, or their checksum is another.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UnusableRawData(f"{path} cannot be unpacked ({error}); fetch it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UnusableRawData(
            f"{path} is not the published file: the SHA-256 of its unpacked bytes is {found}, not {sha256}; fetch it again"
        )
    return content


def parse(content: bytes) -> np.ndarray:
    """The array in the bytes of an idx file of unsigned bytes: magic number 0, 0, 8, rank, then big-endian sizes, then the values."""
    rank = content[3]
    sizes = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(sizes.astype(int))


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
    raw_files: ClassVar[tuple[str, ...]] = (*IMAGES.values(), *LABELS.values())
    sha256: ClassVar[dict[str, str]]

    def array(self, name: str, raw: Path | None) -> np.ndarray:
        """The content of one of the four files.

        Raises:
            UnusableRawData: if it is nowhere or not the published one.
        """
        candidates = [folder / (name + ending) for folder in self.folders(raw) for ending in ("", ".gz")]
        for path in candidates:
            if path.is_file():
                return parse(unpack(path, self.sha256[name]))
        raise UnusableRawData(
            f"{self.name} needs {name}, gzipped or not, which is not in {', '.join(map(str, self.folders(raw))) or 'any known folder'}; "
            "name the folder of raw data by EBMPIPE_DATA_DIR, raw_data in the config, or --raw"
        )

    def arrays(self, raw: Path | None = None) -> dict[str, np.ndarray]:
        """The three splits and their labels, read from the raw files."""
        images = {split: self.array(name, raw)[:, None] for split, name in IMAGES.items()}
        labels = {split: self.array(name, raw).astype(np.int64) for split, name in LABELS.items()}
        order = numpy_generator(0, "data", self.name).permutation(len(images["train"]))
        out = {"test": images["test"].copy(), "test_labels": labels["test"]}
        for split, chosen in (("train", order[: self.sizes["train"]]), ("validation", order[self.sizes["train"] :])):
            out[split], out[f"{split}_labels"] = images["train"][chosen], labels["train"][chosen]
        return out
