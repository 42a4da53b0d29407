"""A file of arrays that is written by parts and read where it lies, so that neither takes more memory than a part of it.

The format is safetensors, byte for byte as its own library writes it: the length of a header, the header as JSON, the arrays.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np

from ebmpipe.files import header

#: What an array of prepared data may hold, by its name in the format, in the order in which the format puts arrays.
DTYPES: dict[str, np.dtype] = {"I64": np.dtype(np.int64), "F32": np.dtype(np.float32), "U8": np.dtype(np.uint8)}

#: Name of every array -> its shape and type.
Layout = Mapping[str, tuple[tuple[int, ...], np.dtype]]

#: Places along the first axis of an array.
Rows = slice | np.ndarray

#: Name of an array, rows of it, and what stands there.
Part = tuple[str, Rows, np.ndarray]

#: Is told the name of an array and the number of its rows that are done.
Told = Callable[[str, int], None]

#: Bytes that are read at once.
CHUNK = 2**23


class BadParts(ValueError):
    """Parts do not make up the arrays that were announced; the message says which and how."""


def silent(key: str, rows: int) -> None:
    """Nothing is shown."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file.

    Attributes:
        offset: bytes before it.
        shape: its shape.
        dtype: its type.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row(self) -> int:
        """Bytes of one row."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return self.shape[0] * self.row


def head(layout: Layout) -> tuple[bytes, dict[str, Place]]:
    """What a file of ``layout`` begins with, and where its arrays lie: wider types first, which keeps each aligned, then by name."""
    names, order = {dtype: name for name, dtype in DTYPES.items()}, list(DTYPES.values())
    entries: dict[str, object] = {"__metadata__": header(None)}
    begin, ends = 0, []
    for key in sorted(layout, key=lambda key: (order.index(layout[key][1]), key)):
        shape, dtype = layout[key]
        end = begin + prod(shape) * dtype.itemsize
        entries[key] = {"dtype": names[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        ends.append((key, begin))
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, {key: Place(8 + len(text) + at, *layout[key]) for key, at in ends}


def write(file: FileIO, content: memoryview, offset: int) -> None:
    """Put all of ``content`` at ``offset``: a file may take less at once."""
    while content:
        taken = os.pwrite(file.fileno(), content, offset)
        content, offset = content[taken:], offset + taken


def write_parts(path: Path, layout: Layout, parts: Iterator[Part], told: Told = silent) -> None:
    """Fill the file ``path`` with ``parts``, each as it comes.

    Args:
        path: the file; what it held is lost.
        layout: the arrays that it is to hold.
        parts: all of their rows, each once, in any order.
        told: called after each part with the name of its array and the number of its rows.

    Raises:
        BadParts: if a part does not fit the layout, or a row is given twice or not at all.
        OSError: if the disk does not take it.
    """
    begin, places = head(layout)
    given = {key: np.zeros(place.shape[0], dtype=bool) for key, place in places.items()}
    with path.open("wb", buffering=0) as file:
        file.truncate(len(begin) + sum(place.size for place in places.values()))
        write(file, memoryview(begin), 0)
        for key, rows, values in parts:
            if key not in places:
                raise BadParts(f"there is a part of {key!r}, which is none of {', '.join(sorted(places))}")
            place = places[key]
            try:
                positions = np.arange(place.shape[0])[rows]
            except IndexError as error:
                raise BadParts(f"{key} has no such rows ({error})") from error
            if values.shape != (len(positions), *place.shape[1:]) or values.dtype != place.dtype:
                expected = f"{place.dtype} of shape {(len(positions), *place.shape[1:])}"
                raise BadParts(f"a part of {key} is {values.dtype} of shape {values.shape}, not {expected}")
            if given[key][positions].any() or len(np.unique(positions)) < len(positions):
                raise BadParts(f"some rows of {key} are given twice")
            given[key][positions] = True
            write_rows(file, place, positions, values)
            told(key, len(positions))
    for key, there in given.items():
        if not there.all():
            raise BadParts(f"{np.count_nonzero(~there)} rows of {key} are not given, the first being {int(np.argmin(there))}")


def write_rows(file: FileIO, place: Place, positions: np.ndarray, values: np.ndarray) -> None:
    """Put the rows ``values`` where ``positions`` say, neighbours together."""
    if np.any(np.diff(positions) < 0):
        order = np.argsort(positions)
        positions, values = positions[order], values[order]
    content = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(positions)]):
        if stop > start:
            write(file, content[start * place.row : stop * place.row], place.offset + int(positions[start]) * place.row)


class ArrayFile:
    """The arrays in a safetensors file; none is in memory until it is looked at.

    Args:
        path: the file.

    Attributes:
        path: the file.
        places: name of every array -> where it lies.

    Raises:
        ValueError: if it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > path.stat().st_size:
                    raise ValueError("its header is longer than itself")
                entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            self.places = {
                key: Place(8 + length + entry["data_offsets"][0], tuple(entry["shape"]), DTYPES[entry["dtype"]])
                for key, entry in entries.items()
            }
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no file of prepared arrays ({error})") from error

    def array(self, key: str) -> np.ndarray:
        """The array ``key``, mapped: the system reads what is looked at, and forgets it when it needs the memory. Read-only.

        Pages are private to this process: who gets round the array's own protection, as tensors on its memory can, alters what this
        object shows and never the file, and is not killed for it.
        """
        place = self.places[key]
        if not place.size:
            return np.empty(place.shape, place.dtype)
        # The plain view: slices of `numpy.memmap` itself carry a file name and an offset that are not theirs.
        mapped = np.memmap(self.path, place.dtype, "c", place.offset, place.shape).view(np.ndarray)
        mapped.flags.writeable = False
        return mapped

    def chunks(self, key: str) -> Iterator[np.ndarray]:
        """The array ``key`` from its beginning to its end, copied in chunks of whole rows, of about `CHUNK` bytes."""
        place = self.places[key]
        step = max(1, CHUNK // max(place.row, 1))
        for start in range(0, place.shape[0], step):
            rows = min(step, place.shape[0] - start)
            count, offset = rows * prod(place.shape[1:]), place.offset + start * place.row
            yield np.fromfile(self.path, place.dtype, count, offset=offset).reshape(rows, *place.shape[1:])
