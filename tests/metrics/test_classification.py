"""Accuracy and calibration: closed forms, torchmetrics, and where there is nothing to measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ebmpipe.metrics.base import Evaluation, NotAvailable
from ebmpipe.metrics.classification import Classification
from ebmpipe.metrics.estimators.calibration import BINS, error_if_calibrated, reliability

Maker = Callable[..., Evaluation]


def random_probabilities(n: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), size=n)


def rows_of(evaluation: Evaluation) -> dict[str, float | None]:
    return {row.metric: row.value for row in Classification().compute(evaluation)}


def test_agrees_with_torchmetrics() -> None:
    torch, functional = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.functional.classification")
    probabilities = random_probabilities(3000, 7)
    labels = np.random.default_rng(1).integers(7, size=3000)
    theirs = functional.multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=7, n_bins=BINS, norm="l1"
    )
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    assert reliability(confidence, correct).calibration_error == pytest.approx(float(theirs), abs=1e-6)  # theirs is in single precision


def test_closed_forms() -> None:
    """Always sure and right three times in four: off by a quarter. Two bins that are off in opposite directions do not cancel."""
    correct = np.tile([True, True, True, False], 25)
    assert reliability(np.ones(100), correct).calibration_error == pytest.approx(0.25)
    confidence = np.repeat([0.6, 0.9], 50)
    correct = np.concatenate([np.arange(50) < 40, np.arange(50) < 35])
    assert reliability(confidence, correct).calibration_error == pytest.approx(0.2)
    one_bin = reliability(confidence, correct, bins=1)
    assert one_bin.calibration_error == pytest.approx(0.0)
    assert one_bin.accuracy[0] == pytest.approx(0.75)


def test_bins_are_closed_above_and_hold_everything() -> None:
    found = reliability(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0]), np.ones(4))
    assert found.share[[0, 1, 14]].tolist() == [0.5, 0.25, 0.25]
    assert found.share.sum() == 1
    assert np.isnan(found.confidence[2])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_error_sees_over_and_under_confidence(temperature: float) -> None:
    """Of classes drawn from p a classifier that states p is calibrated, up to chance; one that sharpens or flattens p is not."""
    truth = random_probabilities(20_000, 5)
    rng = np.random.default_rng(2)
    labels = (rng.random((len(truth), 1)) > truth.cumsum(axis=1)).sum(axis=1)
    stated = truth ** (1 / temperature)
    stated /= stated.sum(axis=1, keepdims=True)
    confidence = stated.max(axis=1)
    error = reliability(confidence, stated.argmax(axis=1) == labels).calibration_error
    by_chance = error_if_calibrated(confidence, 50, rng)
    if temperature == 1:
        assert error == pytest.approx(by_chance.mean(), abs=4 * by_chance.std())
    else:
        assert error > 0.05 > 5 * by_chance.mean()


def test_chance_alone_falls_with_the_root_of_the_number_of_examples() -> None:
    rng = np.random.default_rng(3)
    few, many = (error_if_calibrated(random_probabilities(n, 5).max(axis=1), 200, rng).mean() for n in (400, 6400))
    assert few / many == pytest.approx(4, rel=0.25)


def test_of_the_true_probabilities_the_likelihood_is_their_entropy(pictures: Maker) -> None:
    evaluation = pictures(n=3000)
    assert evaluation.class_probabilities is not None
    p = evaluation.class_probabilities(np.asarray(evaluation.test))
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1).mean()
    rows = {row.metric: row for row in Classification().compute(evaluation)}
    nll, accuracy = rows["classification_nll"], rows["accuracy"]
    assert nll.value == pytest.approx(entropy, abs=4 * (nll.stderr or 0))
    assert accuracy.value == pytest.approx(p.max(axis=1).mean(), abs=4 * (accuracy.stderr or 0))
    assert accuracy.stderr == pytest.approx(np.sqrt((accuracy.value or 0) * (1 - (accuracy.value or 0)) / 2999))


def test_with_the_models_noise_the_same_numbers_stand_beside(pictures: Maker) -> None:
    plain = pictures()
    noisy = replace(plain, smoothed=lambda part: plain.test[part], cache={})
    rows, alone = rows_of(noisy), rows_of(plain)
    assert set(rows) == {*alone, *(f"{metric}@smoothed" for metric in alone)} == set(Classification().reports(noisy))
    assert all(rows[f"{metric}@smoothed"] == rows[metric] == value for metric, value in alone.items())


def test_without_a_classifier_it_says_so(pictures: Maker) -> None:
    evaluation = replace(pictures(), class_probabilities=None, smoothed=lambda part: part)
    with pytest.raises(NotAvailable, match="the method has no classifier"):
        list(Classification().compute(evaluation))
    assert [row.metric for row in Classification().unavailable("why", evaluation)] == list(Classification.ids)


def test_what_is_no_probability_and_a_class_ruled_out(pictures: Maker) -> None:
    evaluation = pictures()
    with pytest.raises(NotAvailable, match="not finite at 300 of 300"):
        rows_of(replace(evaluation, class_probabilities=lambda x: np.full((len(x), 10), np.nan), cache={}))
    sure = replace(evaluation, class_probabilities=lambda x: np.eye(10)[np.full(len(x), 9)], cache={})
    rows = {row.metric: row for row in Classification().compute(sure)}
    assert rows["accuracy"].value == 0 and rows["calibration_error"].value == 1
    assert rows["classification_nll"].status == "not available: the class of 300 of 300 test examples has a probability of zero"
