"""Samples that were made elsewhere, read from a file and brought into model space. Free of torch; no format that can run code is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ebmpipe.data.prepared import to_model_space
from ebmpipe.data.tables import UnusableTable, arrays_in, csv_blocks, ending, opened
from ebmpipe.data.zips import FAULTS
from ebmpipe.spec import DataSpec

#: Values all so near to a grey level, in levels, are levels.
ON_LEVEL = 1e-4
#: What the numbers of an image may be in: model space, [0, 1], or integer grey levels.
Range = Literal["model", "unit", "levels"]
RANGES: tuple[str, ...] = get_args(Range)
#: What is beyond this is taken for another range than model space, unless that is named. Samples of a model of images are about [-1, 1].
FAR = 10.0
#: The array that is read of a file that holds several.
KEY = "samples"


def file_units(card: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Offset and scale, (d,) each, by which a value in a file of the user's own is offset + scale × value in model space.

    Args:
        card: of the data set.

    Returns:
        None where they are the same: of all but vectors of the user's own that are standardised.
    """
    scaling = card.get("files", {}).get("scaling")
    if scaling is None:
        return None
    offset, scale = np.array(scaling["offset"]), np.array(scaling["scale"])
    return None if (offset == 0).all() and (scale == 1).all() else (offset, scale)


def read_samples(
    path: Path,
    spec: DataSpec,
    given: str | None,
    key: str | None,
    rng: np.random.Generator,
    units: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """The samples in ``path`` in model space, (n, *event) float64.

    Integers are grey levels, dequantised like the data with noise from ``rng``; floating-point numbers are in model space, unless ``given``
    says otherwise. Vectors of a data set that was standardised are in the units of its file, unless ``given`` is ``model``.

    Args:
        path: .npy, .npz or .safetensors, or .csv of vectors, one per line.
        spec: the data set that they are samples of.
        given: one of `RANGES`; None: as the type of the numbers says.
        key: name of the array, where the file has several; None: ``samples``, or the only one.
        rng: noise for dequantisation.
        units: `file_units` of the data set.

    Raises:
        ValueError: if they cannot be read, or cannot be samples of this data set; the message says why and what to do.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    if given is not None and given not in RANGES:
        raise ValueError(f"--range {given}: choose {', '.join(RANGES)}")
    if ending(path) == ".csv" and spec.kind == "images":
        raise ValueError(f"{path}: a .csv holds vectors, and {spec.name} is images: give .npy, .npz or .safetensors")
    x = _array(path, key)
    if x.dtype.kind not in "iuf":
        raise ValueError(f"{path} holds {x.dtype}: samples are integers or real numbers")
    if x.ndim < 1 or x.shape[1:] != spec.shape:
        raise ValueError(f"{path} has shape {x.shape}: samples of {spec.name} have shape (n, {', '.join(map(str, spec.shape))})")
    if len(x) < 2:
        raise ValueError(f"{path} holds {len(x)} sample{'s' * (len(x) != 1)}: two are the least that can be compared with anything")
    if lost := int((~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).sum()):
        raise ValueError(f"{path}: {lost} of {len(x)} samples are not finite")
    if (x == x[:1]).all():
        raise ValueError(f"{path}: all {len(x)} samples are the same")
    return _in_model_space(x, path, spec, given, rng, units)


def _in_model_space(
    x: np.ndarray,
    path: Path,
    spec: DataSpec,
    given: str | None,
    rng: np.random.Generator,
    units: tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """``x`` as models see it, whatever range it came in."""
    low, high = x.min(), x.max()
    if spec.levels is None:
        if given in ("unit", "levels"):
            which = "taken as they are" if units is None else "in the units of its file, or with --range model as models see them"
            raise ValueError(f"--range {given} is for images; {spec.name} is {spec.kind}, whose numbers are {which}")
        if units is None or given == "model":
            return x.astype(np.float64)
        offset, scale = units
        return np.asarray((x.astype(np.float64) - offset) / scale)
    whole = x.dtype.kind in "iu" or (given == "levels" and bool((x == np.floor(x)).all()))
    if x.dtype.kind in "iu" and given in ("model", "unit"):
        raise ValueError(f"{path} holds integers, which are grey levels: --range {given} is for floating-point numbers")
    if whole:
        if low < 0 or high >= spec.levels:
            raise ValueError(
                f"{path} has levels from {low:g} to {high:g}, but {spec.name} has {spec.levels}, 0 to {spec.levels - 1}: bring them to "
                "those levels, or give floating-point numbers with --range unit"
            )
        return np.asarray(to_model_space(x.astype(np.float64), spec.levels, rng.random(x.shape)))
    if given == "levels":
        raise ValueError(f"{path}: --range levels is for whole numbers, and these are not all whole")
    if given == "unit" and (low < 0 or high > 1):
        raise ValueError(f"{path} has values from {low:g} to {high:g}: --range unit is for values from 0 to 1")
    if given is None and (low >= 0 or max(-low, high) > FAR):
        raise ValueError(
            f"{path} has values from {low:g} to {high:g}, and model space is [-1, 1], give or take what a model puts outside: "
            f"say --range unit for values in [0, 1], levels for 0 to {spec.levels - 1}, or model if they are meant as they are"
        )
    x = 2 * x.astype(np.float64) - 1 if given == "unit" else x.astype(np.float64)
    steps = (x + 1) / 2 * (spec.levels - 1)
    if np.abs(steps - np.rint(steps)).max() < ON_LEVEL:
        raise ValueError(
            f"{path} holds grey levels as floating-point numbers, but the data are dequantised, and noise in them alone would tell them "
            f"apart: give integers from 0 to {spec.levels - 1}, which are dequantised likewise"
        )
    return x


def _array(path: Path, key: str | None) -> np.ndarray:
    """The array of a file."""
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".csv": _csv}
    if ending(path) not in readers:
        raise ValueError(f"{path}: samples are read from {', '.join(readers)}; other formats may run code or are ambiguous")
    try:
        arrays = readers[ending(path)](path)
    except UnusableTable:
        raise
    except (*FAULTS, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as {ending(path)}: {error}") from error
    if key is None:
        key = KEY if KEY in arrays or len(arrays) != 1 else next(iter(arrays))
    if key not in arrays:
        raise ValueError(f"{path} has no array {key!r}; name one of {', '.join(sorted(arrays)) or 'none'} with --key")
    return arrays[key]


def _npy(path: Path) -> dict[str, np.ndarray]:
    return {KEY: _whole(path, None)}


def _npz(path: Path) -> dict[str, np.ndarray]:
    return {name: _whole(path, name) for name in arrays_in(path)}


def _whole(path: Path, name: str | None) -> np.ndarray:
    """One array of numpy's, once its header has been held against what the file can hold."""
    with opened(path, name) as (file, *_):
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError

    from ebmpipe.files import read_arrays

    try:
        return read_arrays(path)[0]
    except (SafetensorError, TypeError) as error:
        raise ValueError(str(error)) from error


def _csv(path: Path) -> dict[str, np.ndarray]:
    return {KEY: np.concatenate([*csv_blocks(path)] or [np.empty((0, 0))])}
