"""Families of numbers in feature spaces: which spaces, which samples, and what is said of both."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, NotAvailable, SampleMetric
from ebmpipe.metrics.estimators.arrays import checked
from ebmpipe.metrics.estimators.feature_statistics import FeatureStatistics, statistics_of
from ebmpipe.metrics.estimators.references import reference_statistics
from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace

#: Most samples, and most test examples.
LIMIT = 50_000

#: The one network whose features published numbers are about, and what the distances are called there and nowhere else.
INCEPTION = "inception"
PUBLISHED = {"frechet": "fid", "kernel": "kid"}

#: Every feature network that a number can be of.
EXTRACTORS = sorted({*registry.names("features"), INCEPTION})

#: Why there are no numbers.
NO_SPACE = "there is no feature network for these data; make one with `ebmpipe features`"
NO_INCEPTION = "the weights of the Inception network are not at hand"


def distance_id(kind: str, extractor: str) -> str:
    """The id of a distance, ``frechet`` or ``kernel``, in the features of ``extractor``."""
    return PUBLISHED[kind] if extractor == INCEPTION else f"{kind}_{extractor}"


def protocol(space: FeatureSpace, n: int) -> str:
    """What a comparison of ``n`` samples with as many test examples in ``space`` depends on."""
    return f"{space.name} features (weights {space.weights_sha256[:8]}), n = {n} samples and {n} of the test split, {space.preprocessing}"


def taken(samples: np.ndarray, evaluation: Evaluation, n: int) -> np.ndarray:
    """Which samples count and in which order: ``n`` of them at random, the same whatever the feature space or metric."""
    return evaluation.rng("features").permutation(len(samples))[:n]


def both_sides(samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> tuple[FeatureStatistics, FeatureStatistics]:
    """Statistics of samples and test examples in ``space``, equally many; computed once for all the families that want them.

    Raises:
        ValueError: if the network makes features of another shape than it declares.
        NotAvailable: if features are not finite or have no variance.
    """
    n = min(len(samples), len(evaluation.test), LIMIT)
    # Keyed by content: two sources of one length must never share an entry.
    content = hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=16).hexdigest()
    key = f"features/{space.name}/{space.weights_sha256}/{n}/{content}"
    if key not in evaluation.cache:
        evaluation.cache[key] = statistics_of(samples, taken(samples, evaluation, n), space, "samples")
    x, y = evaluation.cache[key], reference_statistics(evaluation, space, n)
    x.check_variance("samples")
    y.check_variance("test examples")
    return x, y


class FeatureMetric(SampleMetric):
    """Numbers of samples in each of several feature spaces; where one space has none, the others still may."""

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind == "images"

    @abstractmethod
    def ids_in(self, extractor: str) -> tuple[str, ...]:
        """The ids in the features of one network; none if the family is not computed there."""

    @abstractmethod
    def within(self, samples: np.ndarray, evaluation: Evaluation, space: FeatureSpace) -> Iterator[Measurement]:
        """Measurements of ``samples`` in ``space``.

        Raises:
            NotAvailable: if there are none.
        """

    def spaces(self, evaluation: Evaluation) -> tuple[FeatureSpace, ...]:
        """The spaces at hand that the family is computed in."""
        return tuple(space for space in evaluation.feature_spaces if self.ids_in(space.name))

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """The ids of the spaces at hand; without any, of all networks but Inception, whose absence is reported once."""
        names = [space.name for space in self.spaces(evaluation)]
        if not evaluation.feature_spaces:
            names = [name for name in EXTRACTORS if name != INCEPTION]
        return tuple(dict.fromkeys(i for name in names for i in self.ids_in(name)))

    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        samples = checked(samples, evaluation.test)
        if not evaluation.feature_spaces:
            raise NotAvailable(NO_SPACE)
        for space in self.spaces(evaluation):
            try:
                measurements = list(self.within(samples, evaluation, space))
            except NotAvailable as reason:
                measurements = [self.missing(metric, reason) for metric in self.ids_in(space.name)]
            yield from measurements

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        yield from super().compute(evaluation)
        if all(space.name != INCEPTION for space in evaluation.feature_spaces):
            reason = evaluation.absent_spaces.get(INCEPTION, NO_INCEPTION)
            yield from (self.missing(metric, reason) for metric in self.ids_in(INCEPTION) if metric not in self.reports(evaluation))


class PrimaryMetric(FeatureMetric):
    """Numbers in the primary feature space alone, whose ids do not name it."""

    #: In the primary space every id, whatever the network.
    def ids_in(self, extractor: str) -> tuple[str, ...]:
        return tuple(self.ids)

    def spaces(self, evaluation: Evaluation) -> tuple[FeatureSpace, ...]:
        return evaluation.feature_spaces[:1]


class DistanceMetric(FeatureMetric):
    """One distance in every feature space.

    Attributes:
        kind: first part of its ids.
    """

    kind: ClassVar[str]

    def ids_in(self, extractor: str) -> tuple[str, ...]:
        return (distance_id(self.kind, extractor),)
