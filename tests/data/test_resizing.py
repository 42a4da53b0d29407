"""Images brought to another shape and other levels: means kept, centres kept, and no trace of how they were stored."""

import numpy as np
import pytest

from ebmpipe.data.resizing import averaging, fitted, interpolating, recoloured, resized


@pytest.mark.parametrize(("size", "target"), [(8, 4), (28, 8), (32, 28), (7, 7), (5, 1)])
def test_area_averages_keep_the_mean(size, target):
    weights = averaging(size, target)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.sum(axis=0), target / size)
    images = np.random.default_rng(0).random((3, 2, size, size))
    np.testing.assert_allclose(resized(images, target, target).mean(axis=(2, 3)), images.mean(axis=(2, 3)))


def test_whole_ratios_are_block_means():
    images = np.arange(2 * 16, dtype=float).reshape(2, 1, 4, 4)
    blocks = images.reshape(2, 1, 2, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(resized(images, 2, 2), blocks)


@pytest.mark.parametrize(("size", "target"), [(8, 28), (8, 32), (28, 32), (1, 4)])
def test_interpolation_agrees_with_torch(size, target):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).random((2, 3, size, size))
    theirs = torch.nn.functional.interpolate(torch.from_numpy(images), (target, target), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resized(images, target, target), theirs.numpy(), atol=1e-12)
    np.testing.assert_allclose(interpolating(size, target).sum(axis=1), 1)


def test_colours_and_grey():
    white = np.ones((1, 3, 2, 2))
    np.testing.assert_allclose(recoloured(white, 1), np.ones((1, 1, 2, 2)))
    red = white * np.array([1.0, 0, 0])[:, None, None]
    np.testing.assert_allclose(recoloured(red, 1), np.full((1, 1, 2, 2), 0.299))
    grey = np.random.default_rng(0).random((2, 1, 4, 4))
    assert (recoloured(grey, 3) == grey).all()
    with pytest.raises(ValueError, match="2 channels cannot be brought to 1"):
        recoloured(np.zeros((1, 2, 4, 4)), 1)


@pytest.mark.parametrize(("of", "to"), [(256, 17), (256, 256), (17, 17), (17, 2)])
def test_levels_map_to_the_interval_that_holds_their_middle(of, to):
    levels = np.arange(of, dtype=np.uint8).reshape(of, 1, 1, 1)
    found = fitted(levels, of, (1, 1, 1), to).ravel()
    assert found.dtype == np.uint8
    found = found.astype(int)
    assert (np.diff(found) >= 0).all()
    middles = (np.arange(of) + 0.5) / of
    assert ((found <= middles * to) & (middles * to < found + 1)).all()
    if of == to:
        assert (found == levels.ravel()).all()


@pytest.mark.parametrize(("of", "to"), [(17, 256), (2, 17), (2, 256), (16, 17)])
def test_where_there_are_more_levels_ends_map_to_ends(of, to):
    levels = np.arange(of, dtype=np.uint8).reshape(of, 1, 1, 1)
    found = fitted(levels, of, (1, 1, 1), to).ravel().astype(int)
    assert (found[0], found[-1]) == (0, to - 1)
    np.testing.assert_allclose(found, np.arange(of) * (to - 1) / (of - 1), atol=0.5)
    assert (found + found[::-1] == to - 1).all() or (to - 1) % (of - 1)
    # And in whatever shape and colours: black is black, white is white.
    for level, end in ((0, 0), (of - 1, to - 1)):
        assert (fitted(np.full((2, 1, 8, 8), level, np.uint8), of, (3, 32, 28), to) == end).all()
        assert (fitted(np.full((2, 3, 32, 32), level, np.uint8), of, (1, 8, 8), to) == end).all()


def test_the_shape_is_that_of_the_data():
    colours = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    assert fitted(colours, 256, (1, 8, 8), 17).shape == (5, 1, 8, 8)
    grey = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8)).astype(np.uint8)
    up = fitted(grey, 17, (3, 32, 32), 256)
    assert up.shape == (5, 3, 32, 32)
    assert (up[:, 0] == up[:, 2]).all()
