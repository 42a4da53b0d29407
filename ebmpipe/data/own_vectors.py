"""One file of vectors of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe.array_file import Layout, Part
from ebmpipe.data.base import SPLITS
from ebmpipe.data.listing import Listing
from ebmpipe.data.own import OwnData, UnusableFiles, sizes_of
from ebmpipe.data.tables import Table, table
from ebmpipe.seeding import numpy_generator

#: Values beyond this have squares that overflow.
LARGEST = 1e100


class OwnVectors(OwnData):
    """One file of vectors."""

    kind = "vectors"
    revision = 2

    @classmethod
    def survey(cls, name: str, files: Mapping[str, Any]) -> dict[str, Any]:
        """Its attributes, by the size of the table.

        Raises:
            UnusableFiles: if no data set can be made of it.
        """
        if given := [key for key in ("size", "colour", "labels") if files[key] is not None]:
            raise UnusableFiles(f"{files['path']} is a file of vectors: `{given[0]}` is for images")
        found = table(Path(files["path"]), files["array"])
        scaled = "each coordinate less its mean, and divided by its standard deviation, both of the training examples; see `scaling`"
        how = scaled if files["scaling"] != "none" else "values as they are"
        dealt = "Rows dealt out with a fixed seed, those that are there more than once all to training"
        return {
            "shape": (found.columns,),
            "sizes": sizes_of(files, found.rows),
            "transformations": f"{dealt}; {how}; rounded to float32.",
        }

    @classmethod
    def listing(cls) -> Listing:
        return Listing(cls.path().parent, (cls.path().name,))

    @classmethod
    def table(cls) -> Table:
        """The file."""
        return table(cls.path(), cls.files["array"])

    def moments(self, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every coordinate over the rows where ``training`` (n,) is true, in one pass (Chan et al. 1979).

        Raises:
            UnusableFiles: if a coordinate is always the same: then the data have no density.
        """
        count, mean, squares = 0, np.zeros(self.shape), np.zeros(self.shape)
        first = 0
        for block in self.table().blocks():
            if np.abs(block).max() > LARGEST:
                raise UnusableFiles(f"{self.path()} has values beyond ±{LARGEST:g}: their squares overflow; give them in another unit")
            part = block[training[first : first + len(block)]]
            first += len(block)
            if not len(part):
                continue
            of_part = part.mean(0)
            difference, total = of_part - mean, count + len(part)
            squares += ((part - of_part) ** 2).sum(0) + difference**2 * count * len(part) / total
            mean += difference * len(part) / total
            count = total
        scale = np.sqrt(squares / count)
        if len(fixed := np.flatnonzero(scale <= 1e-12 * np.abs(mean))):
            text = f"{self.path()}: column {fixed[0] + 1} is always {mean[fixed[0]]:g}; leave it out, as such data have no density"
            raise UnusableFiles(text)
        return mean, scale

    def placed(self, total: int) -> tuple[np.ndarray, np.ndarray]:
        """The number of the split of every row, and its place there, (n,) int64 each. What is there more than once is in training alone.

        Raises:
            UnusableFiles: if too few rows are there once.
        """
        rng = numpy_generator(0, "data", self.name)
        alone, self.found["copies"] = once(np.concatenate([digests(block) for block in self.table().blocks()]))
        held_out = total - self.sizes["train"]
        if alone.sum() < held_out:
            few = f"only {alone.sum()} of {total} rows are there once, too few to hold out {held_out}"
            raise UnusableFiles(f"{self.path()}: {few}: remove the copies, or add noise as wide as a step if the numbers are rounded")
        order = rng.permutation(total)
        if not alone.all():
            order = np.concatenate([order[~alone[order]], order[alone[order]]])
            order[: self.sizes["train"]] = rng.permutation(order[: self.sizes["train"]])
        split_of, row_of = np.empty(total, np.int64), np.empty(total, np.int64)
        begin = 0
        for number, split in enumerate(SPLITS):
            chosen = order[begin : begin + self.sizes[split]]
            split_of[chosen], row_of[chosen] = number, np.arange(len(chosen))
            begin += len(chosen)
        return split_of, row_of

    def layout(self, raw: Path | None) -> Layout:
        return {split: ((count, *self.shape), np.dtype(np.float32)) for split, count in self.sizes.items()}

    def parts(self, raw: Path | None) -> Iterator[Part]:
        listing, total = self.listing(), sum(self.sizes.values())
        self.found |= {"fingerprint": self.fingerprint(), "sha256": listing.content(listing.checksums())}
        split_of, row_of = self.placed(total)
        mean, scale = self.moments(split_of == 0)
        if self.files["scaling"] == "none":
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        self.found["scaling"] = {
            "offset": mean.tolist(),
            "scale": scale.tolist(),
            "meaning": "value in the file = offset + scale × value here, by coordinate; a density there is the one here / ∏ scale",
        }
        first = 0
        for block in self.table().blocks():
            values = (block - mean) / scale
            if np.abs(values).max() > np.finfo(np.float32).max:
                raise UnusableFiles(f"{self.path()} has values beyond what 32 bits hold: say `scaling: standardise`")
            of_block, rows = split_of[first : first + len(block)], row_of[first : first + len(block)]
            first += len(block)
            for number, split in enumerate(SPLITS):
                here = of_block == number
                if here.any():
                    yield split, rows[here], values[here].astype(np.float32)


def digests(block: np.ndarray) -> np.ndarray:
    """A number of 64 bits for every row of ``block`` (n, d), (n,) uint64: the same for equal rows, 0 and -0 being equal.

    One step of the finaliser of SplitMix64 (Steele, Lea & Flood 2014) per coordinate; of a million rows that differ, two get the same
    number with a chance of 3e-8.
    """
    words = (block.astype(np.float64) + 0.0).view(np.uint64)
    found = np.zeros(len(block), np.uint64)
    for column in words.T:
        found = (found ^ column) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return found


def once(numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """Whether each of ``numbers`` (n,) is there once, (n,) bool; and how many are there beside the first of their like."""
    order = np.argsort(numbers)
    ordered = numbers[order]
    follows = ordered[1:] == ordered[:-1]
    alone = np.ones(len(numbers), bool)
    alone[order[1:][follows]] = alone[order[:-1][follows]] = False
    return alone, int(follows.sum())
