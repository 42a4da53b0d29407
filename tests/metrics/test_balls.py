"""Precision, recall, density and coverage against brute force, closed cases, expectations and the spread of repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebmpipe.features.base import FeatureSpace
from ebmpipe.metrics.base import Evaluation
from ebmpipe.metrics.density_coverage import DensityCoverage, density_and_coverage
from ebmpipe.metrics.estimators.balls import coverings, mean_and_error, nearest_points, squared_radii
from ebmpipe.metrics.estimators.feature_metric import NO_SPACE
from ebmpipe.metrics.precision_recall import PrecisionRecall, share_inside

Maker = Callable[..., Evaluation]


def four(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Precision, recall, density and coverage of samples ``x`` among data ``y``, each with its standard error, (4, 2)."""
    return np.array([share_inside(x, y), share_inside(y, x), *density_and_coverage(x, y)])


def draw(seed: int, n: int = 150, d: int = 3, shift: float = 0.4, scale: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return shift + scale * rng.standard_normal((n, d)), rng.standard_normal((n, d))


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b, axis=2)


def kth(x: np.ndarray, k: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row."""
    return np.sort(distances(x, x), axis=1)[:, k]


@pytest.mark.parametrize("sizes", [(150, 150), (120, 70)])
def test_values_are_those_of_the_definitions(sizes: tuple[int, int]) -> None:
    x, y = draw(0)[0][: sizes[0]], draw(0)[1][: sizes[1]]
    across, of_x, of_y, wide = distances(x, y), kth(x, 3), kth(y, 3), kth(y, 5)
    expected = [
        (across <= of_y).any(axis=1).mean(),
        (across <= of_x[:, None]).any(axis=0).mean(),
        (across < wide).sum(axis=1).mean() / 5,
        (across.min(axis=0) < wide).mean(),
    ]
    assert four(x, y)[:, 0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("n", [7, 23, 150])
def test_leaving_out_a_group_is_as_if_it_had_never_been(n: int) -> None:
    x, y = (side[:n] for side in draw(1))
    radii, nearest = squared_radii(y, 4), nearest_points(y, x)
    counts, groups = coverings(y, x, radii), min(n, 20)
    assert len(radii) == len(nearest) == len(counts) == 1 + groups
    for left in range(groups):
        rest = np.arange(n) % groups != left
        assert radii[1 + left, rest] == pytest.approx(kth(y[rest], 4) ** 2, rel=1e-12)
        assert np.array_equal(counts[1 + left], (distances(x, y[rest]) < kth(y[rest], 4)).sum(axis=1))
        assert nearest[1 + left] == pytest.approx(distances(y, x[rest]).min(axis=1) ** 2, rel=1e-9)


def test_of_the_data_themselves() -> None:
    """Everything is found again, and in the open ball of each example lie it and all but the farthest of its neighbours."""
    y = draw(2)[1]
    assert four(y, y)[:, 0] == pytest.approx([1, 1, 1, 1], rel=1e-14)
    far = 1e6 + y  # where differences of squares have lost most of their digits
    assert four(far, far)[:, 0] == pytest.approx([1, 1, 1, 1], rel=1e-14)


def test_of_what_lies_elsewhere() -> None:
    x, y = draw(2, shift=1e3)
    assert np.array_equal(four(x, y)[:3], np.zeros((3, 2)))
    assert four(x, y)[3, 0] == 0


def test_one_outlier_gives_precision_but_no_density() -> None:
    """Its ball is as wide as it is far out: what Naeem et al. (2020) hold against precision."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.standard_normal((50, 3)), [[100.0, 0.0, 0.0]]])
    x = np.array([50.0, 0.0, 0.0]) + rng.standard_normal((51, 3))
    precision, recall, density, coverage = four(x, y)[:, 0]
    assert (precision, recall) == (1, 0)
    assert density == pytest.approx(1 / 5)
    assert coverage == pytest.approx(1 / 51)


def test_dropped_modes_cost_recall_and_coverage_alone() -> None:
    rng, centres = np.random.default_rng(0), 100.0 * np.eye(4)
    y = np.repeat(centres, 50, axis=0) + rng.standard_normal((200, 4))
    x = np.repeat(centres[:1], 200, axis=0) + rng.standard_normal((200, 4))
    precision, recall, density, coverage = four(x, y)[:, 0]
    assert precision > 0.8
    assert density > 0.7
    assert recall <= 0.25
    assert coverage <= 0.25


def test_expectations_where_samples_have_the_law_of_the_data() -> None:
    """Of N examples and M samples: 1 for density, 1 - (N-1)…(N-k) / (N+M-1)…(N+M-k) for coverage, whatever the law."""
    n, m, k = 60, 90, 5
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        found.append([value for value, _ in density_and_coverage(rng.standard_normal((m, 2)) ** 3, rng.standard_normal((n, 2)) ** 3)])
    ranks = np.arange(1, k + 1)
    expected = [1, 1 - np.prod((n - ranks) / (n + m - ranks))]
    errors = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - expected) < 4 * errors).all()


@pytest.mark.parametrize(("d", "shift", "scale"), [(2, 1.0, 1.0), (8, 0.0, 1.3), (8, 0.5, 0.7)])
def test_standard_errors_are_the_spread_over_repeats(d: int, shift: float, scale: float) -> None:
    found = np.array([four(*draw(seed, 200, d, shift, scale)) for seed in range(40)])
    ratio = found[:, :, 1].mean(axis=0) / found[:, :, 0].std(axis=0, ddof=1)
    assert (ratio > 0.7).all()
    assert (ratio < 1.7).all()


def test_without_another_side_the_error_is_that_of_a_mean() -> None:
    rows = np.random.default_rng(0).standard_normal(50)
    assert mean_and_error(rows)[1] == pytest.approx(rows.std(ddof=1) / np.sqrt(50), rel=1e-12)


def test_agrees_with_torch_fidelity(fidelity: Callable[[str], Any]) -> None:
    """On the two numbers; its versions differ in which side they take for the data, and that is tested above."""
    torch = pytest.importorskip("torch")
    x, y = draw(3)
    expected = fidelity("metric_prc").calculate_precision_recall_full(torch.from_numpy(x), torch.from_numpy(y), 3)
    assert sorted(four(x, y)[:2, 0]) == pytest.approx(sorted(expected), rel=1e-6)


@pytest.mark.parametrize(("family", "least"), [(PrecisionRecall, 5), (DensityCoverage, 7)])
def test_too_few_samples_for_neighbours_are_no_number(pictures: Maker, family: type[PrecisionRecall | DensityCoverage], least: int) -> None:
    samples = pictures().samples["fresh"]
    assert {row.status for row in family().compute(pictures(samples[:least]))} == {"ok"}
    refused = f"not available: {least - 1} samples are too few for balls of {least - 2} neighbours; {least} are needed"
    assert {row.status for row in family().compute(pictures(samples[: least - 1]))} == {refused}


@pytest.mark.parametrize("family", [PrecisionRecall, DensityCoverage])
def test_what_has_no_number_says_why(pictures: Maker, space: Callable[..., FeatureSpace], family: type[PrecisionRecall]) -> None:
    def statuses(evaluation: Evaluation) -> set[str]:
        return {row.status for row in family().compute(evaluation)}

    alike = np.repeat(pictures().test[:1], 100, axis=0)
    assert statuses(pictures(alike)) == {"not available: the features of the samples have no variance"}
    assert statuses(pictures(test=alike)) == {"not available: the features of the test examples have no variance"}
    broken = space(lambda x: np.full((len(x), 16), np.nan))
    assert statuses(pictures(feature_spaces=(broken,))) == {"not available: lenet features of the samples are not finite"}
    assert statuses(pictures(feature_spaces=())) == {f"not available: {NO_SPACE}"}
    with pytest.raises(ValueError, match="features of shape"):
        list(family().compute(pictures(feature_spaces=(space(lambda x: x),))))


def test_only_the_primary_space_counts(pictures: Maker) -> None:
    spaces = pictures().feature_spaces
    for chosen in (spaces, spaces[:1], spaces[::-1]):
        rows = list(PrecisionRecall().compute(pictures(feature_spaces=chosen)))
        assert [row.metric for row in rows] == ["precision", "recall"]
        assert all(row.protocol.startswith(f"{chosen[0].name} features") for row in rows)
