"""What the energy is good for: telling what is not of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe import registry
from ebmpipe.foreign.choosing import CONSTANT, NOISE
from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.metrics.estimators.detection import auprc, auroc
from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.foreign.sets import ForeignSet

#: Most examples of each side, and training examples whose mean energy typicality is about.
LIMIT = 2_000
#: Scores beside E itself, which is that of a bare id; all of them higher for what is less like the data.
TYPICALITY, GRADIENT, CLEAN = "typicality", "gradient_norm", "clean"
#: Every set that an id can name; others, of the user's own, have ids of the same form.
SETS = (NOISE, CONSTANT, *registry.names("data"))
AREAS = {"auroc": "area under the ROC curve", "auprc": "average precision"}

#: Makes of examples (n, *event) their scores, (n,).
Score = Callable[[np.ndarray], np.ndarray]


def metric_id(area: str, name: str) -> str:
    """The id of an area, ``auroc`` or ``auprc``, of the set ``name``."""
    return f"ood_{area}_{name}"


def info_of(area: str, name: str) -> MetricInfo:
    """How to read it."""
    return MetricInfo("", "higher", f"{AREAS[area]} of E for {name} (positive) against as many test examples; chance is 1/2")


class OutOfDistribution(Metric):
    """How well E, |E - mean E of the training data| and ∥∇E∥ tell other sets from the test split."""

    name = "out_of_distribution"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {metric_id(area, name): info_of(area, name) for area in AREAS for name in SETS}

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """For every set both areas by every score; of energies of smoothed data also the area of E without noise."""
        return tuple(
            metric + (f"@{source}" if source else "")
            for name in evaluation.foreign
            for area in AREAS
            for metric in (metric_id(area, name),)
            for source in ("", TYPICALITY, GRADIENT, *([CLEAN] if area == "auroc" and evaluation.noisy else []))
        )

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if not evaluation.foreign:
            return
        if evaluation.log_unnormalised is None or evaluation.score is None:
            raise NotAvailable("the run has no energy")
        own = InScores(evaluation)
        evaluation.drawn["ood_energy_test"] = own.of_test[""]
        for foreign in evaluation.foreign.values():
            yield from self.against(foreign, own, evaluation)

    def against(self, foreign: ForeignSet, own: InScores, evaluation: Evaluation) -> Iterator[Measurement]:
        """The rows of one set."""
        n = min(own.n, foreign.size or own.n)
        clean = foreign.first(n)
        noisy = evaluation.noisy(clean, f"foreign/{foreign.name}") if evaluation.noisy else clean
        noise = f", both with the noise σ = {evaluation.noise_level:g} that the energy models" if evaluation.noisy else ""
        for source, score in own.scores.items():
            without = source == CLEAN
            scores = score(clean if without else noisy)
            if not source:
                evaluation.drawn[f"ood_energy_{foreign.name}"] = scores
            said = f"n = {n} of the test split and {n} of: {foreign.about}" + (", no noise added" if without else noise)
            for area in ["auroc"] if without else AREAS:
                metric = metric_id(area, foreign.name) + (f"@{source}" if source else "")
                rng = evaluation.rng(f"{self.name}/{metric}")
                try:
                    value, error = area_of(area, scores, own.of_test[source][:n], rng)
                    yield Measurement(metric, value, "", n, error, protocol=said)
                except NotAvailable as reason:
                    yield self.missing(metric, reason)


def area_of(area: str, foreign: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> tuple[float, float | None]:
    """An area, ``auroc`` or ``auprc``, of scores, and its standard error; None of sets without overlap, of which it is not known.

    Raises:
        NotAvailable: if a score is no number.
    """
    if lost := int(np.isnan(np.concatenate([foreign, test])).sum()):
        raise NotAvailable(f"the score is no number at {lost} of {len(foreign) + len(test)} examples")
    value, error = auroc(foreign, test) if area == "auroc" else auprc(foreign, test, rng)
    return value, error or None


class InScores:
    """Scores, and those of the test examples that every set is compared with.

    Attributes:
        n: number of test examples.
        scores: by source, "" being E itself.
        of_test: scores of the test examples by source, (n,).
    """

    def __init__(self, evaluation: Evaluation) -> None:
        assert evaluation.log_unnormalised is not None and evaluation.score is not None
        log_p, slope = evaluation.log_unnormalised, evaluation.score
        clean = {name: first(getattr(evaluation, name), name) for name in ("test", "train")}
        noisy = {name: evaluation.noisy(x, f"foreign/of {name}") for name, x in clean.items()} if evaluation.noisy else clean
        self.n = len(clean["test"])
        if self.n < 2 or not len(clean["train"]):
            raise NotAvailable("there are too few test or training examples")
        mean = float(-log_p(noisy["train"]).mean())
        if not np.isfinite(mean):
            raise NotAvailable("the model gives zero density to training examples")
        self.scores: dict[str, Score] = {
            "": lambda x: -log_p(x),
            TYPICALITY: lambda x: np.abs(-log_p(x) - mean),
            GRADIENT: lambda x: np.linalg.norm(slope(x).reshape(len(x), -1), axis=1),
        }
        if evaluation.noisy:
            self.scores[CLEAN] = self.scores[""]
        self.of_test = {source: score((clean if source == CLEAN else noisy)["test"]) for source, score in self.scores.items()}


def first(split: object, name: str) -> np.ndarray:
    """The first examples of a split in its fixed order, at most `LIMIT`."""
    order = reference_order(name, len(split))[:LIMIT]  # type: ignore[arg-type]
    return np.asarray(split[order], dtype=np.float64)  # type: ignore[index]
