"""Training images, as they come from raw files, shuffled with a fixed seed and held out for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ebmpipe.array_file import Part
from ebmpipe.seeding import numpy_generator


class Splitting:
    """Where each of the images of a source goes.

    The first ``sizes["train"] + sizes["validation"]`` images are shuffled; the last of them in the new order are the validation split.
    What the source has beyond them is the test split, in the source's order.

    Args:
        name: of the data set, which the order depends on, and on nothing else but how many images are shuffled.
        sizes: of its splits.
    """

    def __init__(self, name: str, sizes: Mapping[str, int]) -> None:
        self.train, self.shuffled = sizes["train"], sizes["train"] + sizes["validation"]
        self.places = np.argsort(numpy_generator(0, "data", name).permutation(self.shuffled))

    def parts(self, first: int, images: np.ndarray, labels: np.ndarray | None = None) -> Iterator[Part]:
        """Images ``first``, ``first`` + 1 … of the source, and their labels, as parts of the prepared arrays."""
        index = np.arange(first, first + len(images))
        place = np.where(index < self.shuffled, self.places[np.minimum(index, self.shuffled - 1)], index)
        begins = {"train": 0, "validation": self.train, "test": self.shuffled}
        split_of = np.searchsorted([self.train, self.shuffled], place, side="right")
        for number, (split, begin) in enumerate(begins.items()):
            chosen = split_of == number
            if chosen.any():
                yield split, place[chosen] - begin, images[chosen]
                if labels is not None:
                    yield f"{split}_labels", place[chosen] - begin, labels[chosen]


def layout_of(sizes: Mapping[str, int], shape: tuple[int, ...], labelled: bool) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The layout of an image set: ``sizes`` of its splits, ``shape`` of an image."""
    images = {split: ((n, *shape), np.dtype(np.uint8)) for split, n in sizes.items()}
    return images | {f"{split}_labels": ((n,), np.dtype(np.int64)) for split, n in sizes.items() if labelled}
