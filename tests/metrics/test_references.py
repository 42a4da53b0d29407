"""Statistics of the test split are found once per data set, and what lies on disk is never trusted unchecked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.features.base import FeatureSpace
from ebmpipe.metrics.base import Evaluation
from ebmpipe.metrics.estimators.references import content_of, identity_of, read, reference_statistics

Maker = Callable[..., Evaluation]
Space = Callable[..., FeatureSpace]


class Counting:
    """Features that remember of how many images they were asked for."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.seen += len(x)
        return x.reshape(len(x), -1)[:, :16]


@pytest.fixture
def stored(pictures: Maker, space: Space, tmp_path: Path) -> tuple[Callable[..., Evaluation], Counting]:
    """Makes evaluations of one data set, each as if in a process of its own, that keep their references in one folder."""
    counting = Counting()

    def make(**fields: Any) -> Evaluation:
        return pictures(**({"feature_spaces": (space(counting),), "references": tmp_path, "data_sha256": "d" * 64} | fields))

    return make, counting


def found(evaluation: Evaluation, n: int = 300) -> np.ndarray:
    return reference_statistics(evaluation, evaluation.feature_spaces[0], n).moments()[1]


def test_a_second_evaluation_does_not_look_at_the_reference(stored: tuple[Maker, Counting], tmp_path: Path) -> None:
    make, counting = stored
    first = found(make())
    assert counting.seen == 300
    assert np.array_equal(found(make()), first)
    assert counting.seen == 300
    assert [path.name.startswith("reference-") for path in tmp_path.iterdir()] == [True]


def test_without_a_folder_nothing_is_kept(stored: tuple[Maker, Counting], tmp_path: Path) -> None:
    make, counting = stored
    for fields in ({"references": None}, {"data_sha256": ""}):
        found(make(**fields))
        found(make(**fields))
    assert counting.seen == 1200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["header", "metadata", "first", "last", "length", "empty"])
def test_a_damaged_file_is_made_again(stored: tuple[Maker, Counting], tmp_path: Path, where: str) -> None:
    make, counting = stored
    first = found(make())
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    content = bytearray(whole)
    start = 8 + int.from_bytes(content[:8], "little")
    place = {"header": 3, "metadata": content.index(b"content") + 20, "first": start, "last": -1}.get(where)
    if place is not None:
        content[place] ^= 1
    path.write_bytes({"length": content[:-8], "empty": b""}.get(where, content))
    assert np.array_equal(found(make()), first)
    assert counting.seen == 600
    assert path.read_bytes() == whole


@pytest.mark.parametrize("change", ["n", "weights", "data", "preprocessing"])
def test_anything_else_is_another_key(stored: tuple[Maker, Counting], tmp_path: Path, space: Space, change: str) -> None:
    make, counting = stored
    found(make())
    if change == "n":
        found(make(), 200)
    elif change == "data":
        found(make(data_sha256="e" * 64))
    else:
        field = {"weights": {"weights_sha256": "f" * 64}, "preprocessing": {"preprocessing": "quantised"}}[change]
        found(make(feature_spaces=(space(counting, **field),)))
    assert counting.seen == (500 if change == "n" else 600)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_under_a_wrong_name_is_not_taken(stored: tuple[Maker, Counting], tmp_path: Path) -> None:
    make, counting = stored
    found(make())
    (path,) = tmp_path.iterdir()
    other = replace(make(), data_sha256="e" * 64)
    found(other)
    (wrong,) = set(tmp_path.iterdir()) - {path}
    wrong.write_bytes(path.read_bytes())
    found(replace(other, cache={}))
    assert counting.seen == 900


def test_two_jobs_at_once_do_not_harm_each_other(stored: tuple[Maker, Counting], tmp_path: Path) -> None:
    make, _ = stored
    evaluations = [make() for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(found, evaluations))
    assert all(np.array_equal(result, results[0]) for result in results)
    (path,) = tmp_path.iterdir()
    assert np.array_equal(found(make()), results[0])
    assert path.suffix == ".safetensors"


def test_a_folder_that_cannot_be_written_costs_time_only(stored: tuple[Maker, Counting], tmp_path: Path) -> None:
    make, _ = stored
    (tmp_path / "file").write_text("")
    assert np.array_equal(found(make(references=tmp_path / "file")), found(make()))


def test_content_tells_names_shapes_and_types_apart() -> None:
    x = np.arange(4.0)
    assert len({content_of(a) for a in ({"x": x}, {"y": x}, {"x": x.reshape(2, 2)}, {"x": x.view(np.int64)}, {"x": x + 1})}) == 5


def test_identity_names_all_that_matters(pictures: Maker, space: Space) -> None:
    identity = identity_of(pictures(data_sha256="d"), space(), 7)
    assert {"data_sha256": "d", "n": 7, "split": "test", "space": "lenet"}.items() <= identity.items()
    assert read(Path("/nowhere/reference-0.safetensors"), "0") is None
