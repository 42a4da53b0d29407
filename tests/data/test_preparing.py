"""Preparing: what it refuses, what it imports, and the one image set that needs no download."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.array_file import ArrayFile
from ebmpipe.data.base import SPLITS
from ebmpipe.data.digits import Digits
from ebmpipe.data.rings import Rings
from ebmpipe.data_card import check_layout, describe
from ebmpipe.files import write_arrays
from ebmpipe.preparing import prepare
from ebmpipe.registry import UnknownMember

Arrays = dict[str, np.ndarray]


def check(path: Path, arrays: Arrays) -> dict[str, Any]:
    """Their card; hold arrays against the description of the digits."""
    write_arrays(path, arrays)
    check_layout(Digits(), {key: (array.shape, array.dtype) for key, array in arrays.items()}, Digits.sizes)
    return describe(Digits(), ArrayFile(path), None)


@pytest.fixture(scope="module")
def digits() -> Arrays:
    return Digits().arrays()


def _nan(arrays: Arrays) -> None:
    arrays["validation"][3, 1] = np.nan


def _double(arrays: Arrays) -> None:
    arrays["test"] = arrays["test"].astype(np.float64)


def _flat(arrays: Arrays) -> None:
    arrays["train"] = arrays["train"].reshape(-1)[: Rings.sizes["train"]]


def _short(arrays: Arrays) -> None:
    arrays["train"] = arrays["train"][:-1]


def _extra(arrays: Arrays) -> None:
    arrays["other"] = arrays["train"]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_nan, "rings: validation has 1 values that are not finite"),
        (_double, "rings: test is float64, not float32"),
        (_flat, r"rings: train holds events of shape \(\)"),
        (_short, "rings: train has 49999 examples, not 50000"),
        (_extra, "rings: has the arrays"),
    ],
)
def test_bad_vectors_are_refused_and_nothing_is_written(
    spoil: Callable[[Arrays], None], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = Rings().arrays()
    spoil(arrays)
    monkeypatch.setattr(Rings, "arrays", lambda self, raw: arrays)
    with pytest.raises(ValueError, match=complaint):
        prepare("rings", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "index", "value", "complaint"),
    [
        ("test", (0, 0, 3, 3), 17, "digits: test has level 17, but there are only 17 levels"),
        ("test_labels", 0, 10, "digits: test_labels leaves the range 0 to 9"),
        ("train_labels", 0, -1, "digits: train_labels leaves the range 0 to 9"),
    ],
)
def test_bad_images_and_labels_are_refused(tmp_path: Path, digits: Arrays, key: str, index: Any, value: int, complaint: str) -> None:
    arrays = {name: array.copy() for name, array in digits.items()}
    arrays[key][index] = value
    with pytest.raises(ValueError, match=complaint):
        check(tmp_path / "arrays", arrays)


def test_an_image_in_two_splits_is_refused_unless_the_source_has_it_twice(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {name: array.copy() for name, array in digits.items()}
    arrays["test"][5] = arrays["train"][7]
    path = tmp_path / "arrays"
    with pytest.raises(ValueError, match="digits: 1 images are in more than one split"):
        assert check(path, arrays)["duplicates"] == 1
    for known in (1, None):
        monkeypatch.setattr(Digits, "duplicates", known)
        assert check(path, arrays)["duplicates"] == 1


def test_digits_are_all_there_once_and_stratified(digits: Arrays) -> None:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    pixels, labels = load_digits(return_X_y=True)
    rows = [(image.tobytes(), label) for split in SPLITS for image, label in zip(digits[split], digits[f"{split}_labels"], strict=True)]
    source = [(image.astype(np.uint8).tobytes(), label) for image, label in zip(pixels, labels, strict=True)]
    assert sorted(rows) == sorted(source)
    for split in SPLITS:
        share = np.bincount(digits[f"{split}_labels"], minlength=10)
        assert np.abs(share - np.bincount(labels) * Digits.sizes[split] / len(labels)).max() < 2
        assert np.any(np.diff(digits[f"{split}_labels"][:20]) < 0)  # shuffled, not sorted by class


def test_ones_own_data_set_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text(
        "from ebmpipe.data.rings import Rings\nclass Mine(Rings):\n    name = 'mine'\n    title = 'Mine'\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    card = prepare("own_data:Mine", tmp_path / "out")
    assert card["name"] == "own_data:Mine" and card["title"] == "Mine"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownMember, match="did you mean 'two_moons'"):
        prepare("two_moon", tmp_path)


def test_preparing_imports_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ebmpipe.preparing import prepare; from ebmpipe.data.prepared import Prepared; "
        f"prepare('eight_gaussians', Path({str(tmp_path)!r})); Prepared(Path({str(tmp_path)!r})).split('test'); "
        "print([name for name in ('torch', 'sklearn', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
