"""Vectors in a file, one per row: .npy, .npz or .csv, read in blocks of rows, and never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

#: The files that are taken for vectors.
SUFFIXES = (".npy", ".npz", ".csv")
#: Rows that are in memory at once.
ROWS = 2**14


class UnusableTable(ValueError):
    """A file that vectors cannot be read from; the message names it and says why."""


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
        found = csv_blocks(self.path) if self.path.suffix == ".csv" else array_blocks(self.path, self.array)
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
    if path.suffix not in SUFFIXES:
        raise UnusableTable(f"{path}: vectors are read from {', '.join(SUFFIXES)}; other formats may run code or are ambiguous")
    if array is not None and path.suffix != ".npz":
        raise UnusableTable(f"{path} has no named arrays: `array` is for .npz")
    if path.suffix == ".csv":
        rows, columns = csv_size(path)
        return Table(path, None, rows, columns)
    if path.suffix == ".npz":
        array = named(path, array)
    with member(path, array) as file:
        shape, _, dtype = header(file, path)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnusableTable(f"{path} holds {dtype}: vectors are integers or real numbers of at most 64 bits")
    if len(shape) != 2:
        raise UnusableTable(f"{path} has shape {shape}: vectors are the rows of a table, (examples, coordinates)")
    return Table(path, array, *shape)


def named(path: Path, array: str | None) -> str:
    """The name of the array of an .npz: the one asked for, or the only one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, zipfile.BadZipFile) as error:
        raise UnusableTable(f"{path} cannot be read as .npz: {error}") from error
    if array is None and len(names) == 1:
        return names[0]
    if array not in names:
        raise UnusableTable(f"{path} has the arrays {', '.join(names) or 'of none'}: name one by `array`")
    return array


def member(path: Path, array: str | None) -> IO[bytes]:
    """The bytes of an .npy, in a file of its own or in an .npz."""
    try:
        if array is None:
            return path.open("rb")
        with zipfile.ZipFile(path) as archive:
            return archive.open(f"{array}.npy")
    except (OSError, zipfile.BadZipFile) as error:
        raise UnusableTable(f"{path} cannot be read as {path.suffix}: {error}") from error


def header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the array that follows."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_column, dtype = read(file)
    except (ValueError, SyntaxError, TokenError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UnusableTable(f"{path} cannot be read as {path.suffix}: {error}") from error
    return shape, by_column, dtype


def array_blocks(path: Path, array: str | None) -> Iterator[np.ndarray]:
    """The rows of an .npy or of one array of an .npz. What is stored by columns is in memory as a whole."""
    with member(path, array) as file:
        (rows, columns), by_column, dtype = header(file, path)
        step = rows if by_column else ROWS
        for first in range(0, rows, step):
            count = min(step, rows - first) * columns
            try:
                content = file.read(count * dtype.itemsize)
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise UnusableTable(f"{path} cannot be read as {path.suffix}: {error}") from error
            if len(content) != count * dtype.itemsize:
                raise UnusableTable(f"{path} ends before all of its {rows} rows have come")
            values = np.frombuffer(content, dtype).reshape((-1, columns), order="F" if by_column else "C")
            for begin in range(0, len(values), ROWS):
                yield values[begin : begin + ROWS].astype(np.float64)


def numbers(line: str) -> list[float] | None:
    """The numbers of a line with commas between, None if any cell is none."""
    try:
        return [float(cell) for cell in line.split(",")]
    except ValueError:
        return None


def headed(line: str) -> bool:
    """Whether a line heads the columns: no cell of it is a number."""
    return all(numbers(cell) is None for cell in line.split(","))


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
    """What is wrong with the first bad line of a block."""
    for place, line in block:
        cells = line.strip().split(",")
        wrong = next((cell.strip() for cell in cells if numbers(cell) is None), None)
        if wrong is not None:
            return f"{path}, line {place}: {wrong!r} is no number" if wrong else f"{path}, line {place}: a cell is empty"
        if len(cells) != columns:
            return f"{path}, line {place} has {len(cells)} numbers, and the first has {columns}"
    return f"{path} cannot be read as .csv"
