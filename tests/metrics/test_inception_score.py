"""The Inception score of logits whose score is known, and against other people's code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ebmpipe.features.base import FeatureSpace
from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.inception_score import SPLITS, InceptionScore, ScoreOfSplits

Maker = Callable[..., Evaluation]
Space = Callable[..., FeatureSpace]


def scores(logits: np.ndarray, size: int = 64) -> np.ndarray:
    """Of each split of ``logits``, taken in in chunks."""
    of_splits = ScoreOfSplits(len(logits))
    for part in chunks(len(logits), size):
        of_splits.add(part, logits[part])
    return of_splits.scores()


def measured(make: Maker, space: Space, logits: Callable[[np.ndarray], Any], n: int = 300) -> Measurement:
    evaluation = make(feature_spaces=(space(name="inception", logits=logits),))
    evaluation = replace(evaluation, samples={"fresh": evaluation.samples["fresh"][:n]})
    (row,) = InceptionScore().compute(evaluation)
    return row


def test_sure_of_c_classes_in_equal_parts_scores_c() -> None:
    assert scores(1e4 * np.eye(7)[np.arange(700) % 7]) == pytest.approx(np.full(SPLITS, 7.0), rel=1e-12)


@pytest.mark.parametrize("logits", [np.zeros((100, 5)), 1e4 * np.eye(5)[np.zeros(100, int)], np.tile([3.0, 1.0, -2.0], (100, 1))])
def test_images_that_are_all_alike_score_one(logits: np.ndarray) -> None:
    assert scores(logits) == pytest.approx(np.ones(SPLITS), rel=1e-12)


def test_of_two_classes_with_known_doubt() -> None:
    """p = (a, 1-a) and (1-a, a) in turn: exp(log 2 + a log a + (1-a) log(1-a))."""
    a = 0.9
    logits = np.log(np.tile([[a, 1 - a], [1 - a, a]], (50, 1)))
    assert scores(logits) == pytest.approx(np.full(SPLITS, 2 * a**a * (1 - a) ** (1 - a)), rel=1e-12)


def test_a_constant_in_all_logits_or_the_size_of_chunks_changes_nothing() -> None:
    logits = 3 * np.random.default_rng(0).standard_normal((203, 6))
    assert scores(logits + 1e3, 203) == pytest.approx(scores(logits, 7), rel=1e-10)


def test_agrees_with_torchmetrics() -> None:
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.inception")

    class Identity(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: object) -> object:
            return x

    logits = 3 * np.random.default_rng(0).standard_normal((500, 12))
    metric = theirs.InceptionScore(feature=Identity(), splits=SPLITS).set_dtype(torch.float64)
    metric.update(torch.from_numpy(logits))
    torch.manual_seed(0)
    mean, spread = metric.compute()
    torch.manual_seed(0)
    ours = scores(logits[torch.randperm(500).numpy()])
    assert (ours.mean(), ours.std(ddof=1)) == pytest.approx((float(mean), float(spread)), rel=1e-6)


def test_agrees_with_torch_fidelity(fidelity: Callable[[str], Any]) -> None:
    torch = pytest.importorskip("torch")
    logits = 3 * np.random.default_rng(0).standard_normal((503, 12))
    found = fidelity("metric_isc").isc_features_to_metric(torch.from_numpy(logits), splits=SPLITS, shuffle=False)
    assert scores(logits).mean() == pytest.approx(found["inception_score_mean"], rel=1e-6)


def test_the_error_is_the_spread_over_samples() -> None:
    found = []
    for seed in range(60):
        of_splits = scores(2 * np.random.default_rng(seed).standard_normal((1000, 5)))
        found.append((of_splits.mean(), of_splits.std(ddof=1) / np.sqrt(SPLITS)))
    values, errors = np.array(found).T
    assert 0.75 < errors.mean() / values.std(ddof=1) < 1.35


def test_it_is_of_the_inception_network_alone(pictures: Maker, space: Space) -> None:
    evaluation = pictures(feature_spaces=(space(),))
    (row,) = InceptionScore().compute(replace(evaluation, samples=evaluation.samples | {"noisy": evaluation.samples["fresh"]}))
    assert (row.metric, row.status) == ("inception_score", "not available: the weights of the Inception network are not at hand")


def test_what_has_no_score_says_why(pictures: Maker, space: Space) -> None:
    row = measured(pictures, space, lambda x: np.full((len(x), 3), np.nan))
    assert row.status == "not available: inception logits of the samples are not finite"
    row = measured(pictures, space, lambda x: np.zeros((len(x), 3)), n=19)
    assert row.status == "not available: 19 samples are too few for 10 splits; 20 are needed"
    with pytest.raises(ValueError, match="logits of shape"):
        measured(pictures, space, lambda x: np.zeros(len(x)))
    with pytest.raises(ValueError, match="must give logits"):
        list(InceptionScore().compute(pictures(feature_spaces=(space(name="inception"),))))
