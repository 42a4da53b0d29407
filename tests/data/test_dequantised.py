"""Images that are dequantised as they are looked at are the same however they are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ebmpipe.data.dequantised import Dequantised
from ebmpipe.data.prepared import Prepared
from ebmpipe.preparing import prepare

SHAPES = [(1, 8, 8), (3, 3, 3), (1, 1, 1)]


@pytest.fixture(params=SHAPES)
def images(request: pytest.FixtureRequest) -> Dequantised:
    levels = np.random.default_rng(0).integers(17, size=(50, *request.param), dtype=np.uint8)
    return Dequantised(levels, 17, "evaluation", "test")


ROWS = [slice(7, 31), slice(None, None, 3), slice(None, None, -1), np.array([4, 3, 3, 49, 0]), np.arange(50) % 2 == 0, slice(9, 9), ...]


@pytest.mark.parametrize("rows", ROWS)
def test_any_subset_is_that_of_the_whole(images: Dequantised, rows: Any) -> None:
    found = images[rows]
    assert np.array_equal(found, np.asarray(images)[rows])
    assert found.dtype == np.float64


def test_one_image_and_all_of_them_one_by_one(images: Dequantised) -> None:
    whole = images[:]
    assert np.array_equal(images[3], whole[3])
    assert np.array_equal(images[-1], whole[-1])
    assert np.array_equal(np.stack(list(images)), whole)
    assert np.array_equal(np.asarray(images, dtype=np.float32), whole.astype(np.float32))
    for wrong in (50, (0, 0), np.array([50])):
        with pytest.raises(IndexError):
            images[wrong]


def test_it_has_the_looks_of_an_array(images: Dequantised) -> None:
    whole = images[:]
    assert (len(images), images.shape, images.ndim, images.dtype) == (len(whole), whole.shape, whole.ndim, whole.dtype)
    with pytest.raises(ValueError, match="no array to share"):
        np.array(images, copy=False)


def test_levels_are_kept_and_noise_is_uniform_and_fresh() -> None:
    levels = np.random.default_rng(0).integers(17, size=(2000, 1, 5, 5), dtype=np.uint8)
    images = Dequantised(levels, 17, "evaluation", "test")[:]
    scaled = (images + 1) / 2 * 17
    assert np.array_equal(np.floor(scaled), levels)
    noise = (scaled - levels).ravel()
    assert np.histogram(noise, 10, (0, 1))[0] == pytest.approx(np.full(10, 5000), abs=5 * np.sqrt(5000))
    rows = noise.reshape(2000, 25)
    assert abs(np.corrcoef(rows[:-1].ravel(), rows[1:].ravel())[0, 1]) < 5 / np.sqrt(rows.size)
    assert len(np.unique(noise)) == noise.size


def test_noise_depends_on_the_names_alone(images: Dequantised) -> None:
    again = Dequantised(images.values, 17, "evaluation", "test")
    other = Dequantised(images.values, 17, "evaluation", "train")
    longer = Dequantised(np.concatenate([images.values, images.values]), 17, "evaluation", "test")
    assert np.array_equal(again[:], images[:])
    assert np.array_equal(longer[:50], images[:])
    assert not np.array_equal(other[:], images[:])


def test_a_prepared_set_gives_views_of_images_and_arrays_of_vectors(tmp_path: Any) -> None:
    prepare("digits", tmp_path / "digits")
    prepare("eight_gaussians", tmp_path / "gaussians")
    digits, gaussians = Prepared(tmp_path / "digits"), Prepared(tmp_path / "gaussians")
    view = digits.view("test", "evaluation", "test")
    assert isinstance(view, Dequantised)
    assert np.array_equal(np.floor((view[:] + 1) / 2 * 17), digits.split("test"))
    vectors = gaussians.view("test", "evaluation", "test")
    assert isinstance(vectors, np.ndarray)
    assert vectors.dtype == np.float64
    assert np.array_equal(vectors, gaussians.split("test"))
