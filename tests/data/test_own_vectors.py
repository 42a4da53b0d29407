"""Vectors of the user's own: the same numbers from every format, scaled by what the card states, and refused in one line where unusable."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ebmpipe.config import FilesConfig
from ebmpipe.data import tables
from ebmpipe.data.base import SPLITS
from ebmpipe.data.own import UnusableFiles
from ebmpipe.data.own_files import own
from ebmpipe.data.own_vectors import digests, once
from ebmpipe.data.prepared import Prepared
from ebmpipe.data.tables import UnusableTable, table
from ebmpipe.preparing import prepare


def files(path: Path, **settings: Any) -> dict[str, Any]:
    return FilesConfig.model_validate({"path": str(path), **settings}).model_dump(mode="json")


def prepared(path: Path, out: Path, **settings: Any) -> Prepared:
    prepare("mine", out, own=files(path, **settings))
    return Prepared(out, "mine")


N, MEAN, SCALE = 20_000, np.array([1e4, 0.0, -3.0, 2e-3, 7.0]), np.array([100.0, 1.0, 1e-2, 1e-3, 5.0])


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    """Draws of a Gaussian of five coordinates with known moments and a correlation of 0.8 between the first two."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 5))
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    return MEAN + SCALE * z


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "x.csv": lambda path, x: np.savetxt(path, x, delimiter=",", fmt="%.17g"),
    "headed.csv": lambda path, x: np.savetxt(path, x, delimiter=",", fmt="%.17g", header="a,b,c,d,e", comments=""),
    "noted.csv": lambda path, x: np.savetxt(path, x, delimiter=",", fmt="%.17g", header="written by a program"),
    "x.npy": lambda path, x: np.save(path, x),
    "by_column.npy": lambda path, x: np.save(path, np.asfortranarray(x)),
    "big_endian.npy": lambda path, x: np.save(path, x.astype(">f8")),
    "x.npz": lambda path, x: np.savez_compressed(path, x=x),
}


@pytest.fixture(scope="module")
def reference(gaussian: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    place = tmp_path_factory.mktemp("reference")
    np.save(place / "x.npy", gaussian)
    return prepared(place / "x.npy", place / "out")


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_data(name: str, gaussian: np.ndarray, reference: Prepared, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, gaussian)
    assert prepared(tmp_path / name, tmp_path / "out").card["data_sha256"] == reference.card["data_sha256"]


def test_the_card_maps_data_back(gaussian: np.ndarray, reference: Prepared) -> None:
    scaling = reference.card["files"]["scaling"]
    offset, scale = np.array(scaling["offset"]), np.array(scaling["scale"])
    found = np.concatenate([reference.split(split) for split in SPLITS]).astype(np.float64)
    back, given = found @ np.diag(scale) + offset, gaussian
    distances, nearest = cKDTree(given / SCALE).query(back / SCALE)
    assert distances.max() < 1e-4 and len(set(nearest.tolist())) == N, "each row is there once, to the precision of float32"
    train = reference.split("train").astype(np.float64)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-7)
    assert (np.abs(offset - MEAN) / SCALE).max() < 4 / np.sqrt(N) and np.abs(scale / SCALE - 1).max() < 4 / np.sqrt(2 * N)
    assert abs(np.corrcoef(train.T)[0, 1] - 0.8) < 4 * 0.36 / np.sqrt(N)
    assert reference.spec.kind == "vectors" and reference.spec.shape == (5,) and reference.spec.levels is None
    assert reference.card["counts"] == {"train": 16_000, "validation": 2_000, "test": 2_000}


def test_unscaled_data_are_the_numbers_in_the_file(gaussian: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gaussian.astype(np.float32))
    data = prepared(tmp_path / "x.npy", tmp_path / "out", scaling="none", validation=100, test=0.5)
    assert data.card["counts"] == {"train": 9_900, "validation": 100, "test": 10_000}
    found = np.concatenate([data.split(split) for split in SPLITS])
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(gaussian.astype(np.float32), axis=0))
    assert data.card["files"]["scaling"]["offset"] == [0] * 5 and data.card["files"]["scaling"]["scale"] == [1] * 5


def test_blocks_of_any_size_give_the_same_data(
    gaussian: np.ndarray, reference: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 777)
    for name in ("x.csv", "x.npz"):
        WRITERS[name](tmp_path / name, gaussian)
        data = prepared(tmp_path / name, tmp_path / name.replace(".", "_"))
        for split in SPLITS:
            np.testing.assert_allclose(data.split(split), reference.split(split), atol=1e-6)


def test_integers_and_other_numbers_of_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for columns, dtype in ((1, np.int16), (2, np.uint8), (31, np.float32)):
        column = rng.permutation(200)[:, None]
        np.save(tmp_path / "x.npy", np.hstack([column, rng.integers(0, 100, (200, columns - 1))]).astype(dtype))
        assert prepared(tmp_path / "x.npy", tmp_path / "out").spec.shape == (columns,)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def lines(*more: str) -> bytes:
    rng = np.random.default_rng(0)
    return "\n".join([*(f"{a},{b}" for a, b in rng.normal(size=(60, 2)).tolist()), *more, ""]).encode()


X = np.random.default_rng(0).normal(size=(60, 2))


def claiming(rows: int) -> bytes:
    """An .npy of 60 rows whose header says otherwise."""
    head, said = npy(X)[:128], f"({rows}, 2), }}".encode()
    begin = head.index(b"(60")
    return head[:begin] + said + b" " * (127 - begin - len(said)) + b"\n" + npy(X)[128:]


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", content)
    return file.getvalue()


def flagged(content: bytes, local: int, central: int, value: int) -> bytes:
    """A zip of one member, with ``value`` at a place of its header there and in the table of contents."""
    changed, table = bytearray(content), content.index(b"PK\x01\x02")
    changed[local], changed[table + central] = value, value
    return bytes(changed)


OBJECTS = np.array([{"a": 1}] * 60, dtype=object)
WRONG: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "text": ("x.csv", lines("1,two"), {}, r"x.csv, line 61: 'two' is no number"),
    "an empty cell": ("x.csv", lines("1,"), {}, r"x.csv, line 61: a cell is empty"),
    "ragged": ("x.csv", lines("1,2,3"), {}, r"x.csv, line 61 has 3 numbers, and the first has 2"),
    "NaN": ("x.csv", lines("1,nan"), {}, r"x.csv: row 61 of the numbers has one that is not finite"),
    "infinite": ("x.npy", npy(np.vstack([X, [[np.inf, 0]]])), {}, r"x.npy: row 61 of the numbers has one that is not finite"),
    "semicolons": ("x.csv", lines().replace(b",", b";"), {}, r"x.csv, line 2: '.*' are several numbers with semicolons between"),
    "tabs": ("x.csv", lines().replace(b",", b"\t"), {}, r"x.csv, line 2: '.*' are several numbers with tabs between: give commas"),
    "decimal commas": (
        "x.csv",
        lines().replace(b",", b";").replace(b".", b","),
        {},
        r"x.csv, line 1: '.*' are several numbers with semicolons",
    ),
    "underscores": ("x.csv", lines("1,1_0"), {}, r"x.csv, line 61: '1_0' is no number"),
    "no columns": ("x.npy", npy(np.zeros((100, 0))), {}, r"x.npy has shape \(100, 0\): it holds no number"),
    "no rows": ("x.npy", npy(np.zeros((0, 3))), {}, r"x.npy has shape \(0, 3\): it holds no number"),
    "a rank of nothing": ("x.npy", npy(X)[:10] + b"(" * 118 + npy(X)[128:], {}, r"x.npy cannot be read as .npy"),
    "a version to come": ("x.npy", npy(X).replace(b"NUMPY\x01", b"NUMPY\x09"), {}, r"x.npy .*version 9.0 of the format is unknown"),
    "more rows than there are": ("x.npy", claiming(10**13), {}, r"x.npy ends before all of its 10000000000000 rows have come"),
    "more rows than there are in an .npz": ("x.npz", zipped(claiming(10**13)), {}, r"x.npz ends before all of its 10000000000000 rows"),
    "fewer than none": ("x.npy", claiming(-60), {}, r"x.npy cannot be read as .npy: its shape is \(-60, 2\)"),
    "encrypted": ("x.npz", flagged(npz(x=X), 6, 8, 1), {}, r"x.npz cannot be read as .npz: .*encrypted"),
    "an unknown compression": ("x.npz", flagged(npz(x=X), 8, 10, 77), {}, r"x.npz cannot be read as .npz: .*compression"),
    "lzma that is none": ("x.npz", flagged(npz(x=X), 8, 10, 14), {}, r"x.npz cannot be read as .npz"),
    "no lines": ("x.csv", b"a,b\n\n", {}, r"x.csv holds no line of numbers"),
    "no text": ("x.csv", b"\xff\xfe\x00", {}, r"x.csv cannot be read as .csv"),
    "objects": ("x.npy", npy(OBJECTS), {}, r"x.npy holds object: vectors are integers or real numbers"),
    "objects in an .npz": ("x.npz", npz(x=OBJECTS), {}, r"x.npz holds object"),
    "complex numbers": ("x.npy", npy(X.astype(complex)), {}, r"x.npy holds complex128"),
    "texts": ("x.npy", npy(X.astype(str)), {}, r"x.npy holds <U"),
    "one axis": ("x.npy", npy(X[:, 0]), {}, r"x.npy has shape \(60,\): vectors are the rows of a table"),
    "images": ("x.npy", npy(np.zeros((60, 1, 4, 4))), {}, r"x.npy has shape \(60, 1, 4, 4\)"),
    "several arrays": ("x.npz", npz(a=X, b=X), {}, r"x.npz has the arrays a, b: name one by `array`"),
    "no such array": ("x.npz", npz(a=X), {"array": "b"}, r"x.npz has the arrays a: name one by `array`"),
    "a name for the array of an .npy": ("x.npy", npy(X), {"array": "b"}, r"x.npy has no named arrays"),
    "cut off": ("x.npy", npy(X)[:-9], {}, r"x.npy ends before all of its 60 rows have come"),
    "no .npy": ("x.npy", b"hello", {}, r"x.npy cannot be read as .npy"),
    "no .npz": ("x.npz", b"hello", {}, r"x.npz cannot be read as .npz"),
    "a damaged .npz": ("x.npz", npz(x=X).replace(X.tobytes()[:8], b"\0" * 8), {}, r"x.npz cannot be read as .npz"),
    "too few": (
        "x.npy",
        npy(X[:40]),
        {},
        r"x.npy: 40 examples come to 32 train, 4 validation, 4 test, and each split needs 10: say `test: 10, validation: 10`",
    ),
    "far too few": ("x.npy", npy(X[:20]), {}, r"20 examples come to 0 train, 10 validation, 10 test, .*: give 30 or more"),
    "copies": (
        "x.npy",
        npy(np.vstack([X[:15]] * 2 + [X[15:30]])),
        {},
        r"only 15 of 45 rows are there once, too few to hold out 20: remove",
    ),
    "a constant": ("x.npy", npy(np.hstack([X, np.full((60, 1), 7.0)])), {}, r"column 3 is always 7; leave it out"),
    "too large": ("x.npy", npy(X * 1e300), {}, r"x.npy has values beyond ±1e\+100"),
    "too large as they are": ("x.npy", npy(X * 1e60), {"scaling": "none"}, r"x.npy has values beyond what 32 bits hold"),
    "a size": ("x.npy", npy(X), {"size": 8}, r"x.npy is a file of vectors: `size` is for images"),
    "labels": ("x.npy", npy(X), {"labels": True}, r"x.npy is a file of vectors: `labels` is for images"),
    "pickled": ("x.pkl", b"hello", {}, r"x.pkl is neither a folder of images nor vectors in .npy, .npz, .csv"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_file_is_named_in_one_line(case: str, tmp_path: Path) -> None:
    name, content, settings, told = WRONG[case]
    (tmp_path / name).write_bytes(content)
    settings = {"validation": 10, "test": 10} | settings if case != "too few" else settings
    with pytest.raises(ValueError, match=told) as caught:
        prepare("mine", tmp_path / "out", own=files(tmp_path / name, **settings))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_copies_of_a_row_are_all_in_training(tmp_path: Path) -> None:
    """Some rows are there twice or three times, with zeros of both signs; what is held out is there once."""
    distinct = np.random.default_rng(3).normal(size=(400, 3))
    distinct[:5, 0] = 0
    twins = distinct[np.r_[:5, 100:150]]
    twins[:5, 0] = -0.0
    x = np.vstack([distinct, twins, distinct[:3]])
    np.save(tmp_path / "x.npy", x)
    data = prepared(tmp_path / "x.npy", tmp_path / "out", scaling="none", validation=150, test=150)
    assert data.card["files"]["copies"] == len(twins) + 3
    there = {split: [tuple(row) for row in data.split(split).tolist()] for split in SPLITS}
    for split in ("validation", "test"):
        others = [row for one in SPLITS if one != split for row in there[one]]
        assert len(set(there[split])) == 150 and not set(there[split]) & set(others)
    assert len(set(there["train"])) == 158 - 58 and sorted(row for rows in there.values() for row in rows) == sorted(
        map(tuple, x.astype(np.float32).tolist())
    )


def test_digests_tell_rows_apart() -> None:
    """A grid of small integers, where sums and weak mixtures of coordinates collide; zeros of both signs are equal, however rows lie."""
    grid = np.stack(np.meshgrid(*[np.arange(-20.0, 20)] * 3), -1).reshape(-1, 3)
    alone, copies = once(digests(grid))
    assert alone.all() and copies == 0
    np.testing.assert_array_equal(digests(grid), digests(np.asfortranarray(np.where(grid == 0, -0.0, grid))))


def test_endings_may_be_capitals_and_headers_of_version_3(reference: Prepared, gaussian: np.ndarray, tmp_path: Path) -> None:
    WRITERS["x.csv"](tmp_path / "X.CSV", gaussian)
    (tmp_path / "X.NPY").write_bytes(npy(gaussian))
    (tmp_path / "X.Npz").write_bytes(npz(x=gaussian))
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, gaussian, version=(2, 0))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes().replace(b"NUMPY\x02", b"NUMPY\x03"))
    for name in ("X.CSV", "X.NPY", "X.Npz", "x.npy"):
        assert prepared(tmp_path / name, tmp_path / f"out_{name}").card["data_sha256"] == reference.card["data_sha256"]


def test_several_arrays_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz(a=X, b=np.hstack([X, X])))
    assert own("mine", files(tmp_path / "x.npz", array="b", validation=10, test=10)).shape == (4,)


def test_a_table_larger_than_it_says_is_a_file_that_changed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    found = table(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.vstack([X, X]))
    with pytest.raises(UnusableTable, match="was changed while it was read"):
        list(found.blocks())


def test_a_header_that_asks_for_more_memory_than_there_is_takes_none(tmp_path: Path) -> None:
    header = npy(X)[:128].replace(b"(60, 2)", b"(10**9, 9)"[:7])
    (tmp_path / "x.npy").write_bytes(header)
    with pytest.raises(UnusableTable, match=r"cannot be read as \.npy"):
        table(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(X)[:128].replace(b"(60, 2), ", b"(1<<40,2)"))
    with pytest.raises(UnusableTable, match=r"cannot be read as \.npz"):
        table(tmp_path / "x.npz")


def test_a_constant_that_rounding_blurs_is_still_one(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.hstack([X, np.full((60, 1), 0.1)]))
    with pytest.raises(UnusableFiles, match=r"column 3 is always 0\.1"):
        list(own("mine", files(tmp_path / "x.npy", validation=10, test=10))().parts(None))
