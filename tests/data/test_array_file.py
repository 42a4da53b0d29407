"""Files of arrays that are written by parts: the bytes of safetensors' own writer, and every row once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.array_file import ArrayFile, Part, write_parts
from ebmpipe.files import read_arrays, write_arrays
from ebmpipe.tensors import shared

Arrays = dict[str, np.ndarray]
RNG = np.random.default_rng(0)

#: Kinds of data set, as arrays; names that are out of order, and headers of every length modulo 8.
KINDS: dict[str, Arrays] = {
    "vectors": {split: RNG.standard_normal((n, 5)).astype(np.float32) for split, n in (("train", 31), ("validation", 7), ("test", 8))},
    "labelled images": {
        "train": RNG.integers(256, size=(101, 3, 4, 5), dtype=np.uint8),
        "train_labels": RNG.integers(10, size=101),
        "validation": RNG.integers(256, size=(17, 3, 4, 5), dtype=np.uint8),
        "validation_labels": RNG.integers(10, size=17),
    },
    **{f"a name of {n}": {"x" * n: np.arange(6, dtype=np.uint8).reshape(3, 2), "y": np.ones((2, 2), np.float32)} for n in range(1, 9)},
}


@pytest.fixture(params=KINDS)
def arrays(request: pytest.FixtureRequest) -> Arrays:
    return KINDS[request.param]


def layout(arrays: Arrays) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {key: (array.shape, array.dtype) for key, array in arrays.items()}


def whole(arrays: Arrays) -> Iterator[Part]:
    for key, array in arrays.items():
        yield key, slice(None), array


def scattered(arrays: Arrays) -> Iterator[Part]:
    """Parts of all arrays in turn, each of rows from anywhere, the last by a slice from behind."""
    rng = np.random.default_rng(1)
    orders = {key: rng.permutation(len(array)) for key, array in arrays.items()}
    for third in range(3):
        for key, array in arrays.items():
            rows = np.array_split(orders[key][:-1], 3)[third]
            yield key, rows, array[rows]
    for key, array in arrays.items():
        last = int(orders[key][-1])
        yield key, slice(last, last + 1), array[last : last + 1]


@pytest.mark.parametrize("parts", [whole, scattered])
def test_the_bytes_are_those_of_the_formats_own_writer(arrays: Arrays, parts: Any, tmp_path: Path) -> None:
    write_arrays(tmp_path / "at once", arrays)
    told: list[tuple[str, int]] = []
    write_parts(tmp_path / "by parts", layout(arrays), parts(arrays), lambda key, rows: told.append((key, rows)))
    assert (tmp_path / "by parts").read_bytes() == (tmp_path / "at once").read_bytes()
    assert {key: sum(n for name, n in told if name == key) for key in arrays} == {key: len(array) for key, array in arrays.items()}
    assert read_arrays(tmp_path / "by parts")[0].keys() == arrays.keys()


def test_what_is_not_contiguous_is_written_as_it_looks(tmp_path: Path) -> None:
    images = RNG.integers(256, size=(4, 4, 3, 9), dtype=np.uint8)
    turned = images.transpose(3, 2, 0, 1)
    write_parts(tmp_path / "file", {"x": (turned.shape, turned.dtype)}, iter([("x", np.arange(9)[::-1], turned[::-1])]))
    np.testing.assert_array_equal(ArrayFile(tmp_path / "file").array("x"), turned)


def test_arrays_are_mapped_and_cannot_be_written(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arrays(tmp_path / "file", arrays)
    file = ArrayFile(tmp_path / "file")
    monkeypatch.setattr("ebmpipe.array_file.CHUNK", 64)
    for key, array in arrays.items():
        mapped = file.array(key)
        assert isinstance(mapped.base, np.memmap) and type(mapped) is np.ndarray
        np.testing.assert_array_equal(mapped, array)
        assert mapped.dtype == array.dtype
        with pytest.raises(ValueError, match="read-only"):
            mapped[0] = 0
        before = (tmp_path / "file").read_bytes()
        shared(file.array(key)).zero_()  # not to be done, but harmless
        assert (tmp_path / "file").read_bytes() == before
        chunks = list(file.chunks(key))
        assert len(chunks) > 1 or array.nbytes <= 64
        np.testing.assert_array_equal(np.concatenate(chunks), array)


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([("x", slice(0, 5), 5)], "1 rows of x are not given, the first being 5"),
        ([("x", slice(0, 6), 6), ("x", slice(5, 6), 1)], "some rows of x are given twice"),
        ([("x", np.array([0, 1, 1, 2, 3, 4]), 6)], "some rows of x are given twice"),
        ([("x", np.array([0, -6]), 2)], "some rows of x are given twice"),
        ([("x", np.array([6]), 1)], "x has no such rows"),
        ([("x", slice(0, 6), 5)], r"a part of x is uint8 of shape \(5, 2\), not uint8 of shape \(6, 2\)"),
        ([("z", slice(0, 6), 6)], "there is a part of 'z', which is none of x"),
    ],
)
def test_every_row_is_asked_for_once(parts: list[tuple[str, Any, int]], complaint: str, tmp_path: Path) -> None:
    given = iter([(key, rows, np.zeros((n, 2), np.uint8)) for key, rows, n in parts])
    with pytest.raises(ValueError, match=complaint):
        write_parts(tmp_path / "file", {"x": ((6, 2), np.dtype(np.uint8))}, given)


def test_a_part_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a part of x is float64"):
        write_parts(tmp_path / "file", {"x": ((2, 2), np.dtype(np.float32))}, iter([("x", slice(None), np.zeros((2, 2)))]))


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 8, b"\2" + b"\0" * 7 + b"[]", b"\2" + b"\0" * 7 + b"{"])
def test_files_that_are_none_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="file is no file of prepared arrays"):
        ArrayFile(tmp_path / "file")
