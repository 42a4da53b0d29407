"""Street view house numbers, cropped to single digits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.base import DataSet
from ebmpipe.data.checksums import checked_file
from ebmpipe.data.fetching import UnusableRawData, obtain
from ebmpipe.data.splitting import Splitting, layout_of

#: The two files, in the order in which their images are counted.
FILES = ("train_32x32.mat", "test_32x32.mat")

#: Images of a part.
TOGETHER = 4_096


class SVHN(DataSet):
    """Digits of house numbers from street photographs, 32 x 32 in colour, each with what stands beside it.

    Attributes:
        checksums: of the two files, as published.
    """

    name = "svhn"
    revision = 1
    title = "SVHN"
    kind = "images"
    shape = (3, 32, 32)
    levels = 256
    classes = 10
    source = (
        "Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu and A. Y. Ng 2011, Reading digits in natural images with unsupervised feature "
        "learning, NIPS Workshop on Deep Learning and Unsupervised Feature Learning; format 2, cropped digits"
    )
    licence = "for non-commercial use only"
    transformations = (
        "Levels 0 to 255 kept, label 10 of the digit 0 made 0; the training images shuffled with a fixed seed, the last 7,257 of them held "
        "out for validation; the additional, easier images left out."
    )
    sizes: ClassVar[dict[str, int]] = {"train": 66_000, "validation": 7_257, "test": 26_032}
    duplicates = None
    run_on_original = False
    raw_choices = (FILES,)
    raw_folders = ("svhn", ".")
    mirrors = ("http://ufldl.stanford.edu/housenumbers/",)
    checksums: ClassVar[Mapping[str, str]] = {
        "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
    }
    starting_point: ClassVar[Mapping[str, Any]] = {"network": {"name": "conv", "settings": {"widths": [64, 128, 256]}}}

    def layout(self, raw: Path | None) -> Layout:
        return layout_of(self.sizes, self.shape, labelled=True)

    def parts(self, raw: Path | None) -> Iterator[Part]:
        splitting, first = Splitting(self.name, self.sizes), 0
        paths = [self.file(name, raw) for name in FILES]  # both, before the first is read
        for path, count in zip(paths, (splitting.shuffled, self.sizes["test"]), strict=True):
            images, labels = read_mat(path, count)
            for start in range(0, count, TOGETHER):
                part = slice(start, start + TOGETHER)
                yield from splitting.parts(first + start, images[part], labels[part])
            first += count

    def file(self, name: str, raw: Path | None) -> Path:
        """Where one of the two files is, checked.

        Raises:
            UnusableRawData: if it cannot be had, or is not the published one.
        """
        return obtain(self, name, raw, lambda path, source: checked_file(path, self.checksums[name], source))


def read_mat(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of a file of cropped digits.

    It holds ``X`` (32, 32, 3, n), rows, columns, colours and images, and ``y`` (n, 1), in which the digit 0 has the label 10.

    Args:
        path: the file, in MATLAB's format 5.
        count: how many images it is to have.

    Raises:
        UnusableRawData: if it is no such file.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(path, variable_names=["X", "y"])
    except (MatReadError, OSError, ValueError, TypeError, IndexError, NotImplementedError, zlib.error) as error:
        raise UnusableRawData(f"{path} is no file of MATLAB's format 5 ({error})") from error
    for key, shape in (("X", (32, 32, 3, count)), ("y", (count, 1))):
        array = found.get(key)
        if array is None or array.shape != shape or array.dtype != np.uint8:
            held = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise UnusableRawData(f"{path}: {key} is {held}, not uint8 of shape {shape}")
    labels = found["y"][:, 0].astype(np.int64)
    if labels.min() < 1 or labels.max() > 10:
        raise UnusableRawData(f"{path}: labels leave the range 1 to 10")
    return found["X"].transpose(3, 2, 0, 1), labels % 10
