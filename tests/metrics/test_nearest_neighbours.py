"""The memorisation check finds copies and lets unseen data pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.nearest_neighbours import NearestNeighbours, nearest_distances, neighbours

Maker = Callable[..., Evaluation]


def ratio(evaluation: Evaluation) -> Measurement:
    (row,) = NearestNeighbours().compute(evaluation)
    return row


def test_neighbours_are_the_nearest_in_order() -> None:
    rng = np.random.default_rng(0)
    samples, train = rng.standard_normal((40, 1, 3, 3)), rng.standard_normal((200, 1, 3, 3))
    distances = np.linalg.norm((samples[:, None] - train).reshape(40, 200, -1), axis=2)
    assert np.array_equal(neighbours(samples, train, 5), np.argsort(distances, axis=1)[:, :5])
    assert np.array_equal(neighbours(samples, train, 200), np.argsort(distances, axis=1))
    assert nearest_distances(samples, train) == pytest.approx(distances.min(axis=1), rel=1e-12)


def test_a_copy_is_at_distance_zero_even_far_from_the_origin() -> None:
    train = 1e4 + np.random.default_rng(0).standard_normal((50, 1, 3, 3))
    assert np.array_equal(nearest_distances(train[10:20], train), np.zeros(10))


@pytest.mark.parametrize("k", [0, 51])
def test_impossible_numbers_of_neighbours_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"{k} neighbours of 50"):
        neighbours(np.zeros((3, 4)), np.zeros((50, 4)), k)


def test_unseen_data_are_at_one(pictures: Maker) -> None:
    row = ratio(pictures())
    assert row.value is not None
    assert abs(row.value - 1) < 4 * row.stderr


def test_copies_are_far_below_one(pictures: Maker) -> None:
    train = pictures().train
    assert ratio(pictures(train)).value == 0
    noisy = train + 0.01 * np.random.default_rng(0).standard_normal(train.shape)
    assert ratio(pictures(noisy)).value < 0.2


def test_test_data_that_are_copies_give_no_ratio(pictures: Maker) -> None:
    assert ratio(pictures(test=pictures().train)).status == "not available: most test examples are copies of training examples"
