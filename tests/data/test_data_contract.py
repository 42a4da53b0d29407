"""What every data set promises, from its arrays to the files that other stages open."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.data.base import SPLITS, DataSet, KnownLaw
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import read_signed
from ebmpipe.preparing import prepare

CARD = {
    *("name", "title", "kind", "shape", "revision", "source", "licence", "levels", "classes", "counts", "range", "mean", "std"),
    *("entropy", "entropy_method", "log_density_error", "data_sha256", "array_sha256", "transformations", "duplicates", "remarks"),
}

#: Revision, and the mean of the first hundred examples of train and of test as stored. When these change, the revision must.
GOLDEN = {
    "binary_digits": (1, -0.34625, -0.3428125),
    "cifar10, in part": (1, 118.135895, 119.681663),
    "checkerboard": (1, -0.118475, -0.141723),
    "digits": (1, 4.936719, 4.954844),
    "eight_gaussians": (1, 0.044239, -0.159292),
    "fashion_mnist": (1, 70.781173, 74.670663),
    "ising": (1, 0.48, 0.465),
    "mnist": (1, 33.503597, 30.570242),
    "photos": (1, 93.081992, 91.6222526),
    "pinwheel": (1, 0.035172, 0.001537),
    "rings": (1, 0.003706, 0.106981),
    "swiss_roll": (1, 0.380829, 0.489577),
    "two_moons": (1, -0.010359, -0.111143),
    "two_spirals": (1, -0.029642, -0.091176),
}


@pytest.fixture(scope="module", params=registry.names("data"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def dataset(name: str) -> DataSet:
    member: DataSet = registry.load("data", name)()
    return member


@pytest.fixture(scope="module")
def raw(dataset: DataSet) -> Path | None:
    """The folder of raw data; without the files that a data set needs, its tests are skipped."""
    folder = Path(os.environ["EBMPIPE_DATA_DIR"]) if "EBMPIPE_DATA_DIR" in os.environ else None
    if dataset.raw_choices and not dataset.raw_found(folder):
        pytest.skip(f"{dataset.name}: its raw files are not at hand; set EBMPIPE_DATA_DIR to the folder of raw data")
    return folder


@pytest.fixture(scope="module")
def folder(name: str, raw: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(name) / "data"
    card = prepare(name, out, raw)
    assert card == read_signed(out / "card.json")
    assert sorted(path.name for path in out.iterdir()) == ["card.json", "data.safetensors"]
    return out


@pytest.fixture(scope="module")
def card(folder: Path) -> dict[str, Any]:
    return read_signed(folder / "card.json")


def test_splits_are_fixed_and_read_back(name: str, dataset: DataSet, folder: Path, raw: Path | None) -> None:
    np.random.seed(0)  # the global state must not matter
    first = dataset.arrays(raw)
    np.random.seed(1)
    again, prepared = registry.load("data", name)().arrays(raw), Prepared(folder)
    assert first.keys() == again.keys()
    for split in SPLITS:
        np.testing.assert_array_equal(first[split], again[split])
        np.testing.assert_array_equal(first[split], prepared.split(split))
        assert first[split].shape == (dataset.sizes_found(raw)[split], *dataset.shape)
        assert first[split].dtype == (np.float32 if dataset.levels is None else np.uint8)
        if dataset.classes:
            labels = prepared.labels(split)
            np.testing.assert_array_equal(first[f"{split}_labels"], labels)
            assert set(labels) == set(range(dataset.classes))
    if dataset.duplicates is not None:
        seen: set[bytes] = set()
        twice = 0
        for split in SPLITS:
            rows = [row.tobytes() for row in first[split]]
            twice += sum(row in seen for row in rows)
            seen.update(rows)
        assert twice == dataset.duplicates


def test_card_is_complete_and_true(name: str, dataset: DataSet, raw: Path | None, folder: Path, card: dict[str, Any]) -> None:
    assert card.keys() == CARD | dataset.about().keys()
    prepared = Prepared(folder)
    assert card["name"] == name == prepared.spec.name
    assert prepared.spec.shape == dataset.shape and prepared.spec.folder == folder
    assert card["counts"] == dataset.sizes_found(raw)
    assert card["remarks"] == dataset.remarks(raw)
    assert card["revision"] >= 1
    for key in ("title", "source", "licence", "transformations"):
        assert isinstance(card[key], str) and card[key]
    assert card["data_sha256"] == hashlib.sha256((folder / "data.safetensors").read_bytes()).hexdigest()
    for split in SPLITS:
        assert card["array_sha256"][split] == hashlib.sha256(prepared.split(split).tobytes()).hexdigest()
    stored = np.concatenate([prepared.split(split).ravel() for split in SPLITS])
    assert card["range"] == [stored.min(), stored.max()]
    assert (card["entropy"] is None) == (card["entropy_method"] is None) == (not isinstance(dataset, KnownLaw))


def test_mean_and_scale_are_those_of_model_space(folder: Path, card: dict[str, Any]) -> None:
    prepared = Prepared(folder)
    size, noise = prepared.split("train").size, 0 if card["levels"] is None else 2 / card["levels"]
    total = squares = 0.0
    for part in prepared.in_parts("train", np.random.default_rng(0)):  # a colour set takes gigabytes at once
        assert part.dtype == np.float64
        total, squares = total + part.sum(), squares + np.square(part - card["mean"]).sum()
        if card["levels"] is not None:
            assert part.min() >= -1 and part.max() < 1
    mean = total / size
    assert mean == pytest.approx(card["mean"], abs=noise * 4 / np.sqrt(12 * size) + 1e-9)
    std = np.sqrt(squares / size - (mean - card["mean"]) ** 2)
    assert std == pytest.approx(card["std"], rel=1e-9 if card["levels"] is None else 4 * noise / np.sqrt(size))


def test_preparing_again_gives_the_same_bytes(name: str, folder: Path, raw: Path | None, tmp_path: Path) -> None:
    prepare(name, tmp_path, raw)
    for file in ("data.safetensors", "card.json"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_changed_arrays_bump_the_revision(name: str, dataset: DataSet, raw: Path | None) -> None:
    known = name if dataset.sizes_found(raw) == dataset.sizes else f"{name}, in part"
    if known not in GOLDEN:
        pytest.skip(f"{known} was never run on its original here: put its numbers into GOLDEN")
    arrays = dataset.arrays(raw)
    means = [arrays[split][:100].astype(np.float64).mean() for split in ("train", "test")]
    assert (dataset.revision, *means) == pytest.approx(GOLDEN[known], abs=1e-6)
