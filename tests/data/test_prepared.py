"""Opening prepared data, and the transform to model space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe.data.prepared import Prepared, UnusableData, to_model_space
from ebmpipe.preparing import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits")
    prepare("digits", out)
    return out


def test_model_space_fills_the_interval_and_can_be_undone() -> None:
    levels = np.arange(17, dtype=np.uint8)
    assert to_model_space(levels, 17, 0.0)[0] == -1
    assert to_model_space(levels, 17, 0.5).mean() == pytest.approx(0)
    u = np.random.default_rng(0).random((1000, 17))
    x = to_model_space(levels, 17, u)
    assert x.dtype == np.float64 and x.min() >= -1 and x.max() < 1
    np.testing.assert_array_equal(np.floor((x + 1) / 2 * 17), np.broadcast_to(levels, u.shape))
    assert to_model_space(np.array([255], dtype=np.uint8), 256, 0.5)[0] == pytest.approx(1 - 1 / 256)  # no wrap-around of uint8


def test_the_transform_is_the_same_for_tensors() -> None:
    levels, u = np.arange(256, dtype=np.uint8), np.random.default_rng(1).random(256)
    tensor = to_model_space(torch.from_numpy(levels), 256, torch.from_numpy(u).float())
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), to_model_space(levels, 256, u), atol=1e-6)


def test_noise_comes_from_the_generator_only(folder: Path) -> None:
    prepared = Prepared(folder)
    first, again = (prepared.model_space("test", np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = prepared.model_space("test", np.random.default_rng(3))
    assert np.all(np.abs(other - first) < 2 / 17) and np.all(other != first)


def test_absent_arrays_are_named(tmp_path: Path) -> None:
    prepare("eight_gaussians", tmp_path)
    prepared = Prepared(tmp_path)
    with pytest.raises(UnusableData, match="'train_labels'; it has test, train, validation"):
        prepared.labels("train")
    with pytest.raises(UnusableData, match="'valid'"):
        prepared.split("valid")


def test_an_empty_folder_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"card\.json does not exist; make it with `ebmpipe prepare`"):
        Prepared(tmp_path)


def test_data_of_another_card_are_noticed(folder: Path, tmp_path: Path) -> None:
    prepare("two_moons", tmp_path)
    (tmp_path / "card.json").write_bytes((folder / "card.json").read_bytes())
    with pytest.raises(UnusableData, match=r"is not the file that card\.json describes"):
        Prepared(tmp_path)
