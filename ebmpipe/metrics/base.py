"""The contract of a metric."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.data.base import Density, KnownLaw
    from ebmpipe.features.base import FeatureSpace
    from ebmpipe.foreign.sets import ForeignSet
    from ebmpipe.metrics.interpolation import Interpolator
    from ebmpipe.metrics.reconstruction import Reconstructor
    from ebmpipe.metrics.sample_revision import Reviser
    from ebmpipe.mixing.record import LongRun
    from ebmpipe.partition.bracket import Bracket
    from ebmpipe.restoration.restored import Restorer

#: Events (n, *event) by row: an array, or a view with `len`, ``shape`` and ``ndim`` that gives float64 arrays when indexed by rows, as
#: `ebmpipe.data.dequantised.Dequantised` does. `numpy.asarray` makes an array of either.
Events = Any


@dataclass(frozen=True)
class MetricInfo:
    """How to read one metric id.

    Attributes:
        unit: its unit.
        better: which direction is better; None: neither.
        description: what it is, in a sentence.
        controlled: whether a better model is better in it, so that held-out data should come out first and noise last. What is said of
            chains is not: nothing is easier to sample than noise.
    """

    unit: str
    better: Literal["lower", "higher"] | None
    description: str
    controlled: bool = True


@dataclass(frozen=True)
class Measurement:
    """One number of one run. ``value`` is None exactly when ``status`` is not ``ok`` and says why.

    ``protocol`` says, in words, what the number may only be compared under: feature network, reference split, preprocessing.
    """

    metric: str
    value: float | None
    unit: str
    n: int | None = None
    stderr: float | None = None
    status: str = "ok"
    protocol: str = ""

    def at(self, source: str) -> Measurement:
        """The same number, named as coming from another sample source: ``metric@source``."""
        return replace(self, metric=f"{self.metric}@{source}")


class NotAvailable(Exception):
    """Raised by a metric that has no honest value here; its text is the reason that the tables print."""


@dataclass(frozen=True)
class Evaluation:
    """All that a metric may look at. Arrays are in model space, shape (n, *event); splits of images are made when they are indexed.

    Attributes:
        spec: the data set.
        test: the test split; images are dequantised, with noise that depends on nothing but their place in it.
        train: the training split, for memorisation checks.
        validation: the validation split, for what is fitted to held-out data; empty if there is none.
        samples: the run's samples by source, float32 or float64.
        primary: the source behind a bare metric id, the same for all runs on a data set; a run may lack it.
        log_unnormalised: (n, *event) -> (n,) log p up to a constant, i.e. -E, float64; None if the run has no energy.
        score: (n, *event) -> (n, *event), -∇E, float64; None if the run has no energy.
        class_probabilities: (n, *event) -> (n, classes), p(y | x), float64; None if the run has no classifier.
        test_labels: classes of the test split, (n,) int64; None if it is not labelled.
        bracket: estimates log Z of that energy by annealing; raises `NotAvailable` where there is no path to it. None if the run has no
            energy.
        smoothed: slice -> that part of the test split with the Gaussian noise that the energy allows for; None if it allows for none.
        noise_level: σ of that noise; 0 if there is none.
        noisy: examples (n, *event) and the name of a stream -> the same with that noise, drawn from the stream; None if it allows for none.
        foreign: sets of examples that are not of the data, by name.
        restored: denoises or completes test examples by sampling that energy; None if the run has no energy.
        reconstructed: gives test examples back by a generator; None if the run has none.
        revised: revises a generator's samples under that energy; None if the run revises none.
        interpolated: goes between samples of that energy through the latent space of what it tilts; None if it has none.
        log_partition: log Z of that energy in nats as training estimated it, and its standard error; None if it did not.
        long_run: the long runs of that energy, or why there are none; None if they were not made.
        density: the true density, if the data set has one.
        law: the true law of binary data, if it is known.
        feature_spaces: the feature networks of images, the primary one first; none for vectors.
        absent_spaces: feature networks that are not at hand, and why.
        data_sha256: checksum of the prepared data that the splits are of; empty if they are of none.
        references: folder that keeps what is known of the test split in each feature space; None: nothing is kept.
        rng: gives each metric the same fresh random stream, whatever the other metrics drew.
        cache: results that several families or sources share, by a key that starts with the family's name.
        drawn: arrays that families leave for figures, by the name that they have in ``arrays.npz``.
    """

    spec: DataSpec
    test: Events
    train: Events
    validation: Events
    samples: Mapping[str, np.ndarray]
    primary: str
    rng: Callable[[str], np.random.Generator]
    log_unnormalised: Callable[[np.ndarray], np.ndarray] | None = None
    score: Callable[[np.ndarray], np.ndarray] | None = None
    class_probabilities: Callable[[np.ndarray], np.ndarray] | None = None
    test_labels: np.ndarray | None = None
    bracket: Callable[[], Bracket] | None = None
    smoothed: Callable[[slice], np.ndarray] | None = None
    noise_level: float = 0.0
    noisy: Callable[[np.ndarray, str], np.ndarray] | None = None
    foreign: Mapping[str, ForeignSet] = field(default_factory=dict)
    restored: Restorer | None = None
    reconstructed: Reconstructor | None = None
    revised: Reviser | None = None
    interpolated: Interpolator | None = None
    log_partition: tuple[float, float] | None = None
    long_run: LongRun | None = None
    density: Density | None = None
    law: KnownLaw | None = None
    feature_spaces: tuple[FeatureSpace, ...] = ()
    absent_spaces: Mapping[str, str] = field(default_factory=dict)
    data_sha256: str = ""
    references: Path | None = None
    cache: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, np.ndarray] = field(default_factory=dict)


class Metric(ABC):
    """A family of numbers that are computed together.

    Attributes:
        name: id of the family, equal to the file's name.
        revision: bumped when the numbers change.
        ids: every metric id that `compute` may yield, without ``@source``.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    ids: ClassVar[dict[str, MetricInfo]]

    @abstractmethod
    def applies(self, spec: DataSpec) -> bool:
        """Whether the family means anything on this kind of data."""

    @abstractmethod
    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        """Yield the measurements.

        Raises:
            NotAvailable: if the run has no honest value; the framework then reports `unavailable`.
        """

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """The ids that `compute` yields here: all of them, unless they depend on the evaluation."""
        return tuple(self.ids)

    def measured(self, metric: str, value: float, n: int | None = None, stderr: float | None = None, protocol: str = "") -> Measurement:
        """``value`` of the id ``metric``, which may be compared with others of the same ``protocol``.

        Raises:
            NotAvailable: if it is no number. A table has room for a reason, not for a NaN.
        """
        value = float(value)
        if not math.isfinite(value):
            raise NotAvailable(f"{metric} came out as {value}")
        error = float(stderr) if stderr is not None and math.isfinite(stderr) else None
        return Measurement(metric, value, self.ids[metric].unit, n, error, protocol=protocol)

    def missing(self, metric: str, reason: object) -> Measurement:
        """``metric``, an id or ``id@source``, without a value, and why."""
        return Measurement(metric, None, self.ids[metric.partition("@")[0]].unit, status=f"not available: {reason}")

    def unavailable(self, reason: object, evaluation: Evaluation) -> Iterator[Measurement]:
        """Every id that `compute` would have yielded, without a value, and why."""
        return (self.missing(metric, reason) for metric in self.reports(evaluation))


class SampleMetric(Metric):
    """A family computed once per sample source; the framework names the sources."""

    @abstractmethod
    def compare(self, samples: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        """Measurements of ``samples`` (n, *event) against the test split.

        Raises:
            NotAvailable: if these samples have no honest value; other sources may still have one.
        """

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.primary not in evaluation.samples:
            yield from self.unavailable(f"the run has no samples of the source {evaluation.primary}", evaluation)
        for source, samples in evaluation.samples.items():
            try:
                measurements = list(self.compare(samples, evaluation))
            except NotAvailable as reason:
                measurements = list(self.unavailable(reason, evaluation))
            for measurement in measurements:
                yield measurement if source == evaluation.primary else measurement.at(source)
