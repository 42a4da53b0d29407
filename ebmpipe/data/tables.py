"""Vectors in a file, one per row: .npy, .npz or .csv, read in blocks of rows, and never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from ebmpipe.data.zips import FAULTS

#: The files that are taken for vectors.
SUFFIXES = (".npy", ".npz", ".csv")
#: Rows that are in memory at once.
ROWS = 2**14
#: How the header of each version of .npy is read. 3.0 differs from 2.0 in how names of fields are written, and none here has any.
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}
#: What other tables have in place of commas.
MARKS = {";": "semicolons", "\t": "tabs", " ": "spaces"}
#: What else a header that is no header raises: it is parsed as a literal of Python.
NO_HEADER = (ValueError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError)


class UnusableTable(ValueError):
    """A file that vectors cannot be read from; the message names it and says why."""


def ending(path: Path) -> str:
    """How the name of a file ends, in lower case."""
    return path.suffix.lower()


@dataclass(frozen=True)
class Table:
    """A file of vectors.

    Attributes:
        path: the file.
        array: the array in it, for .npz.
        rows: number of vectors.
        columns: number of coordinates of each.
    """

    path: Path
    array: str | None
    rows: int
    columns: int

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, in blocks (k, columns) of float64.

        Raises:
            UnusableTable: if a value is no finite number, or the file is not what it was when it was looked at.
        """
        found = csv_blocks(self.path) if ending(self.path) == ".csv" else array_blocks(self.path, self.array)
        first = 0
        for block in found:
            if block.shape[1:] != (self.columns,):
                raise UnusableTable(f"{self.path} was changed while it was read")
            lost = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if len(lost):
                raise UnusableTable(
                    f"{self.path}: row {first + int(lost[0]) + 1} of the numbers has one that is not finite; leave such rows out"
                )
            yield block
            first += len(block)
        if first != self.rows:
            raise UnusableTable(f"{self.path} was changed while it was read")


def table(path: Path, array: str | None = None) -> Table:
    """A file of vectors, of which no more is read than tells its size.

    Args:
        path: .npy, .npz or .csv.
        array: of an .npz, which array; None for the only one.

    Raises:
        UnusableTable: if it does not hold rows of integers or real numbers.
    """
    if ending(path) not in SUFFIXES:
        raise UnusableTable(f"{path}: vectors are read from {', '.join(SUFFIXES)}; other formats may run code or are ambiguous")
    if array is not None and ending(path) != ".npz":
        raise UnusableTable(f"{path} has no named arrays: `array` is for .npz")
    if ending(path) == ".csv":
        rows, columns = csv_size(path)
        return Table(path, None, rows, columns)
    if ending(path) == ".npz":
        array = named(path, array)
    with opened(path, array) as (_, shape, _, dtype):
        pass
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnusableTable(f"{path} holds {dtype}: vectors are integers or real numbers of at most 64 bits")
    if len(shape) != 2:
        raise UnusableTable(f"{path} has shape {shape}: vectors are the rows of a table, (examples, coordinates)")
    if min(shape) < 1:
        raise UnusableTable(f"{path} has shape {shape}: it holds no number")
    return Table(path, array, *shape)


def arrays_in(path: Path) -> list[str]:
    """The names of the arrays of an .npz.

    Raises:
        UnusableTable: if it is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (*FAULTS, ValueError) as error:
        raise unreadable(path, error) from error


def named(path: Path, array: str | None) -> str:
    """The name of the array of an .npz: the one asked for, or the only one."""
    names = arrays_in(path)
    if array is None and len(names) == 1:
        return names[0]
    if array not in names:
        raise UnusableTable(f"{path} has the arrays {', '.join(names) or 'of none'}: name one by `array`")
    return array


def unreadable(path: Path, error: BaseException) -> UnusableTable:
    """The error that says that a file cannot be read."""
    return UnusableTable(f"{path} cannot be read as {ending(path)}: {error or type(error).__name__}")


@contextmanager
def opened(path: Path, array: str | None) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
    """An .npy, in a file of its own or as ``array`` in an .npz, behind its header; its shape, whether columns come first, and its type.

    The header is believed in no more than the file can hold, before anybody sets memory aside for it.

    Raises:
        UnusableTable: if it cannot be read, or announces more than is there.
    """
    try:
        if array is None:
            file, size = path.open("rb"), path.stat().st_size
        else:
            with zipfile.ZipFile(path) as archive:
                file, size = archive.open(f"{array}.npy"), archive.getinfo(f"{array}.npy").file_size  # type: ignore[assignment]
    except (*FAULTS, ValueError, KeyError) as error:
        raise unreadable(path, error) from error
    with file:
        shape, by_column, dtype = header(file, path)
        if not dtype.hasobject and prod(shape) * dtype.itemsize > size - file.tell():
            raise UnusableTable(f"{path} ends before all of its {shape[0] if shape else 1} rows have come")
        yield file, shape, by_column, dtype


def header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the array that follows."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is unknown")
        shape, by_column, dtype = HEADERS[version](file)
        if min(shape, default=0) < 0:
            raise ValueError(f"its shape is {shape}")
    except (*FAULTS, *NO_HEADER) as error:
        raise unreadable(path, error) from error
    return shape, by_column, dtype


def array_blocks(path: Path, array: str | None) -> Iterator[np.ndarray]:
    """The rows of an .npy or of one array of an .npz. What is stored by columns is in memory as a whole."""
    with opened(path, array) as (file, (rows, columns), by_column, dtype):
        step = rows if by_column else ROWS
        for first in range(0, rows, step):
            count = min(step, rows - first) * columns
            try:
                content = file.read(count * dtype.itemsize)
            except FAULTS as error:
                raise unreadable(path, error) from error
            if len(content) != count * dtype.itemsize:
                raise UnusableTable(f"{path} ends before all of its {rows} rows have come")
            values = np.frombuffer(content, dtype).reshape((-1, columns), order="F" if by_column else "C")
            for begin in range(0, len(values), ROWS):
                yield values[begin : begin + ROWS].astype(np.float64)


def is_number(text: str) -> bool:
    """Whether a cell is a number, in whatever way Python writes them."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def headed(line: str) -> bool:
    """Whether a line heads the columns: no cell of it is a number."""
    return not any(is_number(cell) for cell in line.split(","))


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a .csv that hold numbers, with their place in the file counted from 1: none that are empty, notes or a heading.

    Raises:
        UnusableTable: if it cannot be read as text.
    """
    first = True
    try:
        with path.open(encoding="utf-8-sig") as file:
            for place, line in enumerate(file, start=1):
                if line.strip() and not line.startswith("#"):
                    if not (first and headed(line)):
                        yield place, line
                    first = False
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableTable(f"{path} cannot be read as .csv: {error}") from error


def csv_size(path: Path) -> tuple[int, int]:
    """Number of rows and columns, by the first line; the others are looked at when they are read."""
    lines = lines_of(path)
    first = next(lines, None)
    if first is None:
        raise UnusableTable(f"{path} holds no line of numbers")
    return 1 + sum(1 for _ in lines), first[1].count(",") + 1


def csv_blocks(path: Path) -> Iterator[np.ndarray]:
    """The rows of a .csv: numbers with commas between, one vector per line; a first line without any number heads the columns.

    Raises:
        UnusableTable: naming the line that holds something else, or more or fewer numbers than the first.
    """
    lines, columns = lines_of(path), None
    while block := list(islice(lines, ROWS)):
        columns = columns or block[0][1].count(",") + 1
        try:
            values = np.loadtxt([line for _, line in block], delimiter=",", ndmin=2, comments=None)
        except ValueError:
            values = None
        if values is None or values.shape[1] != columns:
            raise UnusableTable(fault(path, block, columns))
        yield values


def fault(path: Path, block: list[tuple[int, str]], columns: int) -> str:
    """What is wrong with the first bad line of a block, in one line."""
    for place, line in block:
        cells = line.strip("\r\n ").split(",")
        # Python takes 1_0 for ten; a table does not.
        wrong = next((cell.strip(" ") for cell in cells if not is_number(cell) or "_" in cell or not cell.isascii()), None)
        if wrong is not None:
            if mark := next((mark for mark in MARKS if mark in wrong and all(map(is_number, wrong.split(mark)))), None):
                return (
                    f"{path}, line {place}: {wrong!r} are several numbers with {MARKS[mark]} between: give commas, and points in decimals"
                )
            return f"{path}, line {place}: {wrong!r} is no number" if wrong.strip() else f"{path}, line {place}: a cell is empty"
        if len(cells) != columns:
            return f"{path}, line {place} has {len(cells)} numbers, and the first has {columns}"
    return f"{path} cannot be read as .csv"
