"""A folder of images of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.base import SPLITS
from ebmpipe.data.dealing import by_class, drawn
from ebmpipe.data.decoding import FILTERED, LEVELS, SUFFIXES, UnusableImage, decoded, fitted, levels_of, looked_at
from ebmpipe.data.listing import Listing, listed, printable
from ebmpipe.data.own import OwnData, UnusableFiles, sizes_of
from ebmpipe.data.splitting import layout_of
from ebmpipe.seeding import numpy_generator

#: Images that are handed on at once.
TOGETHER = 256
#: Samples that are drawn of a model, unless there are fewer validation images: a Fréchet distance depends on the number.
SAMPLES = 1000


class OwnImages(OwnData):
    """A folder of images."""

    kind = "images"
    levels = LEVELS
    decodes = True
    duplicates = None  # files that differ may hold the same image
    class_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def survey(cls, name: str, files: Mapping[str, Any]) -> dict[str, Any]:
        """Its attributes, by names of files and the header of the first image, which decides on size and colour where nothing is said.

        Raises:
            UnusableFiles: if no data set can be made of them.
        """
        path = Path(files["path"])
        listing = listed(path, SUFFIXES)
        if not listing.names:
            others = f", only {listing.others} others" if listing.others else ""
            raise UnusableFiles(f"{path} holds no image ({', '.join(SUFFIXES)}){others}")
        if files["array"] is not None or files["scaling"] is not None:
            raise UnusableFiles(f"{path} is a folder of images: `array` and `scaling` are for vectors")
        classes = class_names(listing, files["labels"])
        first = listing.names[0]
        colour, size = looked_at(path / first, str(path / first))
        colour = files["colour"] or colour
        size = size_asked(files["size"]) or size
        sizes = sizes_of(files, len(listing.names))
        kept = "Turned upright as their EXIF data say"
        how = f"the largest middle part of the proportions of {size[0]} × {size[1]} shrunk to that by {FILTERED}" if files["size"] else ""
        fair = ", of every class its share" if classes else ""
        return {
            "shape": (1 if colour == "grey" else 3, *size),
            "sizes": sizes,
            "classes": len(classes) or None,
            "class_names": classes,
            "starting_point": samples(sizes["validation"]),
            "transformations": (
                "; ".join(filter(None, (kept, how, "turned grey (ITU-R 601-2)" if files["colour"] == "grey" else "")))
                + f"; levels 0 to 255. Dealt out with a fixed seed{fair}; files that are the same byte for byte are all in training."
            ),
        }

    @classmethod
    def listing(cls) -> Listing:
        return listed(cls.path(), SUFFIXES)

    def image(self, name: str) -> np.ndarray:
        """One image as it is stored.

        Raises:
            UnusableImage: if it cannot be read, or is of another size or colour than the first and nothing is said of that.
        """
        path, (channels, *size) = self.path() / name, self.shape
        image, wanted = decoded(path, str(path)), "L" if channels == 1 else "RGB"
        if self.files["colour"] is None and image.mode != wanted:
            found, first = ("grey", "rgb") if wanted == "RGB" else ("rgb", "grey")
            raise UnusableImage(f"{path} is {found} and the first image is {first}: say `colour: grey` or `colour: rgb`")
        image = image.convert(wanted)
        if self.files["size"] is not None:
            image = fitted(image, (size[0], size[1]), str(path))
        elif image.size != (size[1], size[0]):
            found, first = f"{image.size[1]} × {image.size[0]}", f"{size[0]} × {size[1]}"
            raise UnusableImage(f"{path} is {found} and the first image is {first}: say the `size` that all are cropped and shrunk to")
        return levels_of(image)

    def placed(self, checksums: list[str], labels: np.ndarray) -> dict[str, np.ndarray]:
        """The indices of the images of every split. What is there twice, byte for byte, is in training alone."""
        rng = numpy_generator(0, "data", self.name)
        _, first, times = np.unique(np.array(checksums), return_index=True, return_counts=True)
        alone = np.zeros(len(checksums), bool)
        alone[first[times == 1]] = True
        held_out = self.sizes["validation"] + self.sizes["test"]
        if alone.sum() < held_out:
            text = f"{self.path()}: only {alone.sum()} images are there once, too few to hold out {held_out}; remove the copies"
            raise UnusableFiles(text)
        self.found["copies"] = int(len(checksums) - len(first))
        rest = by_class(labels, rng)
        rest, copied = rest[alone[rest]], rest[~alone[rest]]
        places = {}
        for split in ("test", "validation"):
            places[split], rest = drawn(rest, self.sizes[split], rng)
        places["train"] = rng.permutation(np.concatenate([rest, copied]))
        return places

    def layout(self, raw: Path | None) -> Layout:
        return layout_of(self.sizes, self.shape, self.classes is not None)

    def parts(self, raw: Path | None) -> Iterator[Part]:
        listing = self.listing()
        if len(listing.names) != sum(self.sizes.values()):
            raise UnusableFiles(f"{self.path()} was changed while it was read")
        self.found |= {"fingerprint": self.fingerprint(), "others": listing.others}
        checksums = listing.checksums()
        self.found |= {"sha256": listing.content(checksums), "class_names": [printable(name) for name in self.class_names] or None}
        index = {name: number for number, name in enumerate(self.class_names)}
        labels = np.array([index[name.partition("/")[0]] if index else 0 for name in listing.names], np.int64)
        places = self.placed(checksums, labels)
        for split in SPLITS:
            for begin in range(0, self.sizes[split], TOGETHER):
                chosen = places[split][begin : begin + TOGETHER]
                rows = slice(begin, begin + len(chosen))
                yield split, rows, np.stack([self.image(listing.names[i]) for i in chosen])
                if index:
                    yield f"{split}_labels", rows, labels[chosen]


def samples(validation: int) -> dict[str, Any]:
    """The starting point of a set with so many validation images."""
    return {"sampling": {"n": min(SAMPLES, validation)}}


def size_asked(size: int | list[int] | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) where a config says them."""
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def class_names(listing: Listing, labels: bool | None) -> tuple[str, ...]:
    """The folders that are the classes of images, sorted; none where they have none.

    Raises:
        UnusableFiles: if there ought to be some and there are not.
    """
    loose = [name for name in listing.names if "/" not in name]
    folders = sorted({name.partition("/")[0] for name in listing.names if "/" in name})
    if labels is False or (labels is None and (loose or len(folders) < 2)):
        return ()
    if loose:
        raise UnusableFiles(f"{listing.root / loose[0]} lies in no sub-folder, so that its class is not known")
    if len(folders) < 2:
        raise UnusableFiles(f"{listing.root} has one sub-folder with images, {folders[0]}: labels need two classes or more")
    return tuple(folders)
