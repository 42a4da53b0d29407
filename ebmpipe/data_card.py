"""What `ebmpipe prepare` says of a data set's arrays, and what it holds against them; in one pass through the file, in chunks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe.array_file import ArrayFile, Layout, Told, silent
from ebmpipe.data.base import SPLITS, DataSet, KnownLaw
from ebmpipe.data.prepared import to_model_space


def require(dataset: DataSet, truth: object, complaint: str) -> None:
    """Hold a data set to its own description.

    Raises:
        ValueError: with the name of the data set and ``complaint``, unless ``truth``.
    """
    if not truth:
        raise ValueError(f"data set {dataset.name}: {complaint}")


def check_layout(dataset: DataSet, layout: Layout, sizes: Mapping[str, int]) -> None:
    """Hold names, shapes and types of the arrays against the data set's description.

    Args:
        dataset: the data set.
        layout: its arrays.
        sizes: examples that every split is to have.

    Raises:
        ValueError: naming the data set, the array and what is wrong with it.
    """
    ensure = partial(require, dataset)
    expected = [*SPLITS, *(f"{split}_labels" for split in SPLITS if dataset.classes is not None)]
    ensure(sorted(layout) == sorted(expected), f"has the arrays {sorted(layout)}, not {sorted(expected)}")
    for split in SPLITS:
        shape, dtype = layout[split]
        ensure(shape[0] == sizes[split], f"{split} has {shape[0]} examples, not {sizes[split]}")
        ensure(shape[0] > 0, f"{split} is empty")
        ensure(shape[1:] == dataset.shape, f"{split} holds events of shape {shape[1:]}, not {dataset.shape}")
        wanted = np.dtype(np.float32 if dataset.levels is None else np.uint8)
        ensure(dtype == wanted, f"{split} is {dtype}, not {wanted}")
        if dataset.classes is not None:
            of_labels, dtype = layout[f"{split}_labels"]
            ensure(dtype == np.int64, f"{split}_labels is {dtype}, not int64")
            ensure(of_labels == shape[:1], f"{split}_labels has shape {of_labels}, not {shape[:1]}")


@dataclass(frozen=True)
class Summary:
    """What one pass through an array tells.

    Attributes:
        sha256: checksum of its bytes.
        least: its least value.
        most: its greatest.
        not_finite: how many values are not finite.
        between: how many values are neither -1 nor 1.
        levels: of bytes, how often each of the 256 values stands there; else empty.
        digests: of images, one of each; else empty.
    """

    sha256: str
    least: float
    most: float
    not_finite: int
    between: int
    levels: np.ndarray
    digests: list[bytes]


def summarise(file: ArrayFile, key: str, told: Told = silent) -> Summary:
    """Go through one array once, and tell of every chunk."""
    sha256, least, most, not_finite, between = hashlib.sha256(), np.inf, -np.inf, 0, 0
    levels, digests = np.zeros(256, np.int64), []
    bytewise, events = file.places[key].dtype == np.uint8, key in SPLITS
    for chunk in file.chunks(key):
        sha256.update(chunk.reshape(-1).view(np.uint8).data)
        if bytewise:
            levels += np.bincount(chunk.reshape(-1), minlength=256)
            digests += [hashlib.blake2b(image, digest_size=16).digest() for image in chunk] if events else []
        elif chunk.dtype.kind == "f":
            not_finite += int(np.count_nonzero(~np.isfinite(chunk)))
            between += int(np.count_nonzero(np.abs(chunk) != 1))
        least, most = min(least, chunk.min()), max(most, chunk.max())
        told(key, len(chunk))
    return Summary(sha256.hexdigest(), float(least), float(most), not_finite, between, levels, digests)


def repeats(found: Mapping[str, Summary]) -> int:
    """Number of images of a later split that are identical to one of an earlier split, each counted."""
    seen: set[bytes] = set()
    count = 0
    for split in SPLITS:
        count += sum(digest in seen for digest in found[split].digests)
        seen.update(found[split].digests)
    return count


def of_levels(counts: np.ndarray, levels: int) -> tuple[float, float]:
    """Mean and standard deviation of pixels in model space, whose levels are counted: nothing but the last step is rounded.

    That is after dequantisation: the mean is that of the levels' middles, and the noise adds the variance of a uniform variable of one
    level's width.

    Args:
        counts: how many pixels have each level.
        levels: number of levels.
    """
    count, total, squares = (sum(int(n) * level**power for level, n in enumerate(counts)) for power in (0, 1, 2))
    variance = (count * squares - total**2) / count**2
    return float(to_model_space(total / count, levels, 0.5)), 2 / levels * math.sqrt(variance + 1 / 12)


def of_vectors(file: ArrayFile) -> tuple[float, float]:
    """Mean and standard deviation of all coordinates of the training split, in two more passes."""
    count = math.prod(file.places["train"].shape)
    mean = math.fsum(float(chunk.sum(dtype=np.float64)) for chunk in file.chunks("train")) / count
    squares = math.fsum(float(np.square(chunk.astype(np.float64) - mean).sum()) for chunk in file.chunks("train"))
    return mean, math.sqrt(squares / count)


def describe(dataset: DataSet, file: ArrayFile, raw: Path | None, told: Told = silent) -> dict[str, Any]:
    """The card of the arrays in ``file``, but for the checksum of the whole file.

    Args:
        dataset: the data set.
        file: its arrays, whose layout is checked.
        raw: the folder of raw data that they were made from.
        told: called for every chunk that was looked at, with the name of its array and the number of its rows.

    Raises:
        ValueError: if their values break the data set's own description.
    """
    found = {key: summarise(file, key, told) for key in file.places}
    ensure = partial(require, dataset)
    for split in SPLITS:
        if dataset.levels is None:
            ensure(not found[split].not_finite, f"{split} has {found[split].not_finite} values that are not finite")
            ensure(dataset.kind != "binary" or not found[split].between, f"{split} has {found[split].between} values that are not -1 or 1")
        else:
            most = int(found[split].most)
            ensure(most < dataset.levels, f"{split} has level {most}, but there are only {dataset.levels} levels")
        if dataset.classes is not None:
            labels = found[f"{split}_labels"]
            ensure(labels.least >= 0 and labels.most < dataset.classes, f"{split}_labels leaves the range 0 to {dataset.classes - 1}")
    twice = repeats(found) if dataset.kind == "images" else None
    if twice is not None and dataset.duplicates is not None:
        ensure(twice <= dataset.duplicates, f"{twice} images are in more than one split; its source has {dataset.duplicates} twice")
    mean, std = of_vectors(file) if dataset.levels is None else of_levels(found["train"].levels, dataset.levels)
    law = dataset if isinstance(dataset, KnownLaw) else None
    return {
        "title": dataset.title,
        "kind": dataset.kind,
        "shape": list(dataset.shape),
        "revision": dataset.revision,
        "source": dataset.source,
        "licence": dataset.licence,
        "transformations": dataset.transformations,
        "remarks": dataset.remarks(raw),
        "levels": dataset.levels,
        "classes": dataset.classes,
        "counts": {split: file.places[split].shape[0] for split in SPLITS},
        "duplicates": twice,
        "range": [min(found[split].least for split in SPLITS), max(found[split].most for split in SPLITS)],
        "mean": mean,
        "std": std,
        "entropy": law.entropy() if law else None,
        "entropy_method": law.entropy_method if law else None,
        "log_density_error": law.log_density_error if law else None,
        "array_sha256": {key: one.sha256 for key, one in sorted(found.items())},
    }
