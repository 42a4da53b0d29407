"""The stage that turns a data set into fixed, checked arrays and a card that describes them."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe import registry
from ebmpipe.data.base import SPLITS, DataSet, Density
from ebmpipe.data.prepared import Prepared, UnusableData, read_card, to_model_space
from ebmpipe.files import sha256, write_arrays, write_signed

#: What a prepared folder holds.
FILES = ("data.safetensors", "card.json")


def prepare(name: str, out: Path, raw: Path | None = None) -> dict[str, Any]:
    """Write ``out/data.safetensors`` and ``out/card.json`` of data set ``name``, each whole or not at all.

    The data come first: should the second file fail, the card of what lay there before does not describe the data, and nobody reads them.

    Args:
        name: id of the data set.
        out: folder to write to; made if need be.
        raw: folder of raw data files, for sets that need one.

    Returns:
        The card.

    Raises:
        UnknownMember: if there is no such data set.
        UnusableRawData: if raw files cannot be had or are not the published ones; nothing is written.
        ValueError: if the data set's arrays break its own description; nothing is written.
        Unwritable: if the disk does not take a file; what lay there before still does.
    """
    dataset: DataSet = registry.load("data", name)()
    arrays = dataset.arrays(raw)
    check(dataset, arrays)
    card = describe(dataset, arrays)
    card["name"] = name  # the id under which every later stage finds the class again
    # No metadata: the card has it all, and safetensors writes several entries in random order, which would change the checksum.
    write_arrays(out / "data.safetensors", arrays)
    card["data_sha256"] = sha256(out / "data.safetensors")
    write_signed(out / "card.json", card)
    return card


def ensure_prepared(name: str, folder: Path, raw: Path | None = None) -> dict[str, Any]:
    """The card of data set ``name`` in ``folder``, prepared if it is missing, damaged, or of another revision than the code.

    Preparing is deterministic, so that a damaged folder can be made again; standard error says when that is done.

    Raises:
        As `prepare`.
    """
    if not any((folder / file).exists() for file in FILES):
        return prepare(name, folder, raw)
    try:
        card = Prepared(folder, name).card
    except UnusableData as error:
        notice(f"{error}: doing so now")
        return repair(name, folder, raw)
    revision = registry.load("data", name).revision
    if card["revision"] != revision:
        notice(f"{folder} was prepared at revision {card['revision']} of {name}, which is at {revision} now: preparing it again")
        return prepare(name, folder, raw)
    return card


def repair(name: str, folder: Path, raw: Path | None = None) -> dict[str, Any]:
    """Prepare ``name`` again where it was prepared before, and say on standard error what that changed.

    Files that come out as the card in ``folder`` describes them keep the time of that card: what was made from them is still up to date,
    and the workflow does not make it again. A card that is itself damaged vouches for nothing: then everything counts as new.

    Raises:
        As `prepare`.
    """
    try:
        before, time = read_card(folder), (folder / "card.json").stat().st_mtime_ns
    except (FileNotFoundError, UnusableData):
        before = None
    card = prepare(name, folder, raw)
    if card == before:
        for file in FILES:
            os.utime(folder / file, ns=(time, time))
        notice(f"{folder}: the data are those that the card describes; nothing made from them has to be made again")
    elif before is None:
        notice(f"{folder}: made anew; as there was no sound card before, what was made from these data is made again")
    else:
        notice(f"{folder}: not what the card there described before; what was made from these data is made again")
    return card


def notice(text: str) -> None:
    """Tell the user on standard error."""
    print(f"ebmpipe: {text}", file=sys.stderr, flush=True)


def describe(dataset: DataSet, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The card of ``arrays``, but for the checksum of the file that will hold them.

    ``mean`` and ``std`` are over all coordinates of the training split in model space. Of an image, that is after dequantisation: the
    mean is that of the levels' middles, and the noise adds the variance of a uniform variable of one level's width.
    """
    train = arrays["train"].astype(np.float64)
    variance = 0.0
    if dataset.levels is not None:
        train = to_model_space(train, dataset.levels, 0.5)
        variance = (2 / dataset.levels) ** 2 / 12
    density = dataset if isinstance(dataset, Density) else None
    return {
        "title": dataset.title,
        "kind": dataset.kind,
        "shape": list(dataset.shape),
        "revision": dataset.revision,
        "source": dataset.source,
        "licence": dataset.licence,
        "transformations": dataset.transformations,
        "levels": dataset.levels,
        "classes": dataset.classes,
        "counts": {split: len(arrays[split]) for split in SPLITS},
        "duplicates": repeats(arrays) if dataset.kind == "images" else None,
        "range": [float(min(arrays[split].min() for split in SPLITS)), float(max(arrays[split].max() for split in SPLITS))],
        "mean": float(train.mean()),
        "std": float(np.sqrt(train.var() + variance)),
        "entropy": density.entropy() if density else None,
        "entropy_method": density.entropy_method if density else None,
        "log_density_error": density.log_density_error if density else None,
        "array_sha256": {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in sorted(arrays.items())},
    }


def check(dataset: DataSet, arrays: dict[str, np.ndarray]) -> None:
    """Hold ``arrays`` against the data set's own description.

    Raises:
        ValueError: naming the data set, the array and what is wrong with it.
    """

    def require(truth: object, complaint: str) -> None:
        if not truth:
            raise ValueError(f"data set {dataset.name}: {complaint}")

    expected = [*SPLITS, *(f"{split}_labels" for split in SPLITS if dataset.classes is not None)]
    require(sorted(arrays) == sorted(expected), f"has the arrays {sorted(arrays)}, not {sorted(expected)}")
    for split in SPLITS:
        array = arrays[split]
        require(len(array) == dataset.sizes[split], f"{split} has {len(array)} examples, not {dataset.sizes[split]}")
        require(array.shape[1:] == dataset.shape, f"{split} holds events of shape {array.shape[1:]}, not {dataset.shape}")
        dtype = np.dtype(np.float32 if dataset.levels is None else np.uint8)
        require(array.dtype == dtype, f"{split} is {array.dtype}, not {dtype}")
        if dataset.levels is None:
            require(np.isfinite(array).all(), f"{split} has {np.count_nonzero(~np.isfinite(array))} values that are not finite")
        else:
            require(array.max() < dataset.levels, f"{split} has level {array.max()}, but there are only {dataset.levels} levels")
        if dataset.classes is not None:
            labels = arrays[f"{split}_labels"]
            require(labels.dtype == np.int64, f"{split}_labels is {labels.dtype}, not int64")
            require(labels.shape == (len(array),), f"{split}_labels has shape {labels.shape}, not ({len(array)},)")
            require(labels.min() >= 0 and labels.max() < dataset.classes, f"{split}_labels leaves the range 0 to {dataset.classes - 1}")
    if dataset.kind == "images":
        found = repeats(arrays)
        require(found <= dataset.duplicates, f"{found} images are in more than one split; its source has {dataset.duplicates} twice")


def repeats(arrays: dict[str, np.ndarray]) -> int:
    """Number of images of a later split that are identical to one of an earlier split."""
    seen: set[bytes] = set()
    count = 0
    for split in SPLITS:
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in arrays[split]]
        count += sum(digest in seen for digest in digests)
        seen.update(digests)
    return count
