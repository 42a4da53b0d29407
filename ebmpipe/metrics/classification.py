"""How well a model whose energy is made of class logits tells the classes, and how far its probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.arrays import chunks
from ebmpipe.metrics.estimators.calibration import BINS, error_if_calibrated, reliability
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.spec import DataSpec

#: Test examples per call of the classifier.
CHUNK = 4096
#: Resamples behind the standard error of the calibration error, and classifiers behind what calibrated ones come to.
RESAMPLES = 1_000


def probabilities_of(classify: Callable[[np.ndarray], np.ndarray], part_of: Callable[[slice], np.ndarray], n: int) -> np.ndarray:
    """p(y | x) of ``n`` examples that are made in parts, (n, classes).

    Raises:
        NotAvailable: if some are no probabilities.
    """
    found = np.concatenate([classify(np.asarray(part_of(part))) for part in chunks(n, CHUNK)])
    if lost := int((~np.isfinite(found)).any(axis=1).sum()):
        raise NotAvailable(f"the class probabilities are not finite at {lost} of {n} test examples")
    return found


def on_test(evaluation: Evaluation, smoothed: bool) -> np.ndarray:
    """p(y | x) of the test split as it is, or with the noise that the energy allows for, (n, classes); computed once per evaluation.

    Raises:
        NotAvailable: if the method has no classifier.
    """
    classify = evaluation.class_probabilities
    if classify is None:
        raise NotAvailable("the method has no classifier")
    key = "classification/smoothed" if smoothed else "classification/test"
    if key not in evaluation.cache:
        part_of = evaluation.smoothed if smoothed else evaluation.test.__getitem__
        assert part_of is not None
        evaluation.cache[key] = probabilities_of(classify, part_of, len(evaluation.test))
    found: np.ndarray = evaluation.cache[key]
    return found


class Classification(Metric):
    """Accuracy, calibration and likelihood of p(y | x) on the test split; ``@smoothed`` on the same examples with the model's own noise."""

    name = "classification"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "accuracy": MetricInfo("fraction", "higher", "share of test examples whose most probable class is theirs"),
        "calibration_error": MetricInfo(
            "probability", "lower", f"expected calibration error of the most probable class, {BINS} bins of equal width"
        ),
        "calibration_error_by_chance": MetricInfo(
            "probability", None, "mean calibration error of calibrated classifiers of the same confidences, for no finite sample has 0"
        ),
        "classification_nll": MetricInfo("nats", "lower", "-log p(y | x) per test example"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.classes is not None

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Bare ids; of a classifier of smoothed examples also those with their noise."""
        smoothed = evaluation.class_probabilities is not None and evaluation.smoothed is not None
        return (*self.ids, *(f"{metric}@smoothed" for metric in self.ids if smoothed))

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        plain = on_test(evaluation, smoothed=False)
        if evaluation.test_labels is None:
            raise NotAvailable("the test split has no labels")
        yield from self.of(plain, evaluation.test_labels, evaluation)
        if evaluation.smoothed is not None:
            for row in self.of(on_test(evaluation, smoothed=True), evaluation.test_labels, evaluation):
                yield row.at("smoothed")

    def of(self, probabilities: np.ndarray, labels: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        """The numbers of ``probabilities`` (n, classes) at examples of classes ``labels`` (n,)."""
        n, rng = len(labels), evaluation.rng(self.name)
        confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        mean, error = mean_and_error(correct.astype(float))
        yield self.measured("accuracy", mean, n, error)
        chosen = rng.integers(n, size=(RESAMPLES, n))
        resampled = np.array([reliability(confidence[rows], correct[rows]).calibration_error for rows in chosen])
        yield self.measured("calibration_error", reliability(confidence, correct).calibration_error, n, resampled.std(ddof=1))
        by_chance = error_if_calibrated(confidence, RESAMPLES, rng)
        yield self.measured("calibration_error_by_chance", by_chance.mean(), n, by_chance.std(ddof=1))
        with np.errstate(divide="ignore"):
            losses = -np.log(probabilities[np.arange(n), labels])
        if lost := int((~np.isfinite(losses)).sum()):
            yield self.missing("classification_nll", f"the class of {lost} of {n} test examples has a probability of zero")
            return
        mean, error = mean_and_error(losses)
        yield self.measured("classification_nll", mean, n, error)
