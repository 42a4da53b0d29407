"""Samples of work made elsewhere: every format and range comes out as the same samples, and what cannot be samples is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ebmpipe.given_samples import file_units, read_samples
from ebmpipe.spec import DataSpec

PICTURES = DataSpec("digits", "images", (1, 8, 8), 0.0, 1.0, 17, 10, None, Path())
PLANE = DataSpec("two_moons", "density", (2,), 0.0, 1.0, None, None, None, Path())
IMAGES = np.random.default_rng(0).uniform(-1.2, 1.2, (20, 1, 8, 8)).astype(np.float32)
POINTS = np.random.default_rng(1).normal(size=(20, 2))
LEVELS = np.random.default_rng(2).integers(0, 17, (20, 1, 8, 8))


def read(path: Path, spec: DataSpec = PICTURES, given: str | None = None, key: str | None = None) -> np.ndarray:
    return read_samples(path, spec, given, key, np.random.default_rng(3))


def npy(folder: Path, x: Any) -> Path:
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def test_formats_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", IMAGES)
    np.savez_compressed(tmp_path / "several.npz", samples=IMAGES, labels=np.arange(3))
    save_file({"anything": torch.from_numpy(IMAGES)}, tmp_path / "one.safetensors")
    save_file({"samples": torch.from_numpy(IMAGES), "other": torch.zeros(2)}, tmp_path / "several.safetensors")
    for path in (npy(tmp_path, IMAGES), *sorted(tmp_path.glob("*.npz")), *sorted(tmp_path.glob("*.safetensors"))):
        found = read(path)
        assert found.dtype == np.float64 and np.array_equal(found, IMAGES)
    assert np.array_equal(read(tmp_path / "several.npz", key="samples"), IMAGES)


@pytest.mark.parametrize("head", ["", "x,y\n"])
def test_vectors_in_csv(tmp_path: Path, head: str) -> None:
    (tmp_path / "x.csv").write_text(head + "\n".join(",".join(map(repr, row)) for row in POINTS.tolist()) + "\n")
    assert np.array_equal(read(tmp_path / "x.csv", PLANE), POINTS)


def test_integer_vectors_are_numbers_and_have_no_levels(tmp_path: Path) -> None:
    whole = np.arange(10).reshape(5, 2)
    assert np.array_equal(read(npy(tmp_path, whole), PLANE), whole)


def test_levels_are_dequantised_like_the_data(tmp_path: Path) -> None:
    """Every level comes back from its own bin, noise fills the bin, and the same stream gives the same numbers."""
    many = np.repeat(LEVELS, 50, axis=0).astype(np.uint8)
    path = npy(tmp_path, many)
    found = read(path)
    bins = (found + 1) * 17 / 2
    assert np.array_equal(np.floor(bins), many) and np.array_equal(found, read(path))
    assert abs((bins - many).mean() - 0.5) < 5 / np.sqrt(12 * many.size)
    assert np.array_equal(read(npy(tmp_path, many.astype(np.float32)), given="levels"), found)


def test_unit_range(tmp_path: Path) -> None:
    unit = (np.clip(IMAGES, -1, 1) + 1) / 2
    np.testing.assert_allclose(read(npy(tmp_path, unit), given="unit"), np.clip(IMAGES, -1, 1), atol=1e-6)


def test_values_far_from_model_space_are_read_only_if_they_are_meant(tmp_path: Path) -> None:
    path = npy(tmp_path, 50 * IMAGES)
    with pytest.raises(ValueError, match=r"values from -59.* to 59.*--range unit"):
        read(path)
    assert np.array_equal(read(path, given="model"), (50 * IMAGES).astype(np.float64))


def broken(at: Any = np.nan) -> np.ndarray:
    x = IMAGES.copy()
    x[3, 0, 0, 0] = x[3, 0, 1, 1] = x[7, 0, 0, 0] = at
    return x


@pytest.mark.parametrize(
    ("x", "given", "match"),
    [
        (IMAGES[:, 0], None, r"has shape \(20, 8, 8\): samples of digits have shape \(n, 1, 8, 8\)"),
        (IMAGES[0, 0, 0, 0], None, r"has shape \(\)"),
        (IMAGES[:1], None, "holds 1 sample: two are the least"),
        (IMAGES[:0], None, "holds 0 samples"),
        (broken(), None, "2 of 20 samples are not finite"),
        (broken(np.inf), "model", "2 of 20 samples are not finite"),
        (np.broadcast_to(IMAGES[:1], IMAGES.shape), None, "all 20 samples are the same"),
        (LEVELS * 15, None, r"levels from 0 to 2\d\d, but digits has 17, 0 to 16"),
        (LEVELS - 1, None, "levels from -1 to 15"),
        (LEVELS, "unit", "holds integers, which are grey levels"),
        (LEVELS.astype(float), None, r"values from 0 to 16, and model space is \[-1, 1\]"),
        (IMAGES, "levels", "not all whole"),
        (IMAGES, "unit", "--range unit is for values from 0 to 1"),
        (abs(IMAGES) / 2, None, "say --range unit"),
        (IMAGES, "pixels", "--range pixels: choose model, unit, levels"),
        (IMAGES > 0, None, "holds bool"),
        (IMAGES * 1j, None, "holds complex"),
    ],
)
def test_what_cannot_be_samples_is_refused(tmp_path: Path, x: np.ndarray, given: str | None, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read(npy(tmp_path, x), given=given)


def test_ranges_are_for_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--range unit is for images; two_moons is density"):
        read(npy(tmp_path, POINTS), PLANE, given="unit")


class Trap:
    """Says so if a pickle of it is ever loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    trap = np.array([Trap()], dtype=object)
    for write, name in ((np.save, "x.npy"), (np.savez, "x.npz")):
        with (tmp_path / name).open("wb") as file:
            write(file, trap)
        with pytest.raises(ValueError, match=r"cannot be read as .*allow_pickle=False"):
            read(tmp_path / name)
    for name in ("x.pt", "x.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ValueError, match=r"samples are read from \.npy, \.npz, \.safetensors, \.csv"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"nonsense of some length, no array at all"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read as"):
        read(tmp_path / name)


def test_files_that_do_not_say_what_is_meant(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=IMAGES, b=IMAGES)
    with pytest.raises(ValueError, match="has no array 'samples'; name one of a, b with --key"):
        read(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="has no array 'c'"):
        read(tmp_path / "x.npz", key="c")
    with pytest.raises(ValueError, match="does not exist"):
        read(tmp_path / "y.npz")
    (tmp_path / "x.csv").write_text("1,2\n3\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 2 has 1 numbers, and the first has 2"):
        read(tmp_path / "x.csv", PLANE)
    with pytest.raises(ValueError, match=r"a \.csv holds vectors, and digits is images"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("given", ["unit", None])
def test_levels_as_floating_point_numbers_are_no_dequantised_images(tmp_path, given):
    spec = DataSpec("digits", "images", (1, 8, 8), -0.4, 0.7, 17, 10, None, tmp_path)
    levels = np.random.default_rng(0).integers(0, 17, (20, 1, 8, 8))
    unit = levels / 16
    np.save(tmp_path / "x.npy", unit if given else 2 * unit - 1)
    with pytest.raises(ValueError, match=r"holds grey levels as floating-point numbers.*give integers from 0 to 16"):
        read_samples(tmp_path / "x.npy", spec, given, None, np.random.default_rng(1))


def test_samples_of_standardised_data_are_in_the_files_units(tmp_path: Path) -> None:
    mine = DataSpec("mine", "vectors", (2,), 0.0, 1.0, None, None, None, tmp_path)
    units = file_units({"files": {"scaling": {"offset": [5.0, -7.0], "scale": [2.0, 0.5]}}})
    path, rng = npy(tmp_path, np.array([5, -7]) + POINTS * [2, 0.5]), np.random.default_rng(0)
    np.testing.assert_allclose(read_samples(path, mine, None, None, rng, units), POINTS, atol=1e-14)
    np.testing.assert_array_equal(read_samples(path, mine, "model", None, rng, units), np.load(path))
    with pytest.raises(ValueError, match="--range unit is for images; mine is vectors, whose numbers are in the units of its file"):
        read_samples(path, mine, "unit", None, rng, units)
    assert file_units({}) is None and file_units({"files": {"scaling": {"offset": [0.0], "scale": [1.0]}}}) is None


def test_encrypted_archives_and_headers_that_claim_too_much_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", POINTS)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[6] = content[content.index(b"PK\x01\x02") + 8] = 1
    (tmp_path / "x.npz").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"x\.npz cannot be read as \.npz: .*encrypted"):
        read(tmp_path / "x.npz", PLANE)
    content = npy(tmp_path, POINTS).read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"(20, 2), }" + b" " * 12, b"(20000000000000, 2), }"))
    with pytest.raises(ValueError, match=r"x\.npy ends before all of its 20000000000000 rows have come"):
        read(tmp_path / "x.npy", PLANE)
