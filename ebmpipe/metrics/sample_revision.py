"""What a Markov chain under the energy does to a generator's samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.spec import DataSpec

#: Chains, of which so many are kept for figures, and steps of each.
CHAINS, KEPT, STEPS = 128, 8, 1000


@dataclass(frozen=True)
class Revised:
    """Chains from a generator's samples. Arrays are float64 in model space.

    Attributes:
        steps: after how many steps ``energy`` was taken, (k,), 0 first.
        energy: E in nats of every chain, (k, chains).
        frame_steps: after how many steps ``frames`` were, (f,).
        frames: every chain, (f, chains, *event), each with the denoising jump if the data were smoothed.
        distance: how far training's steps moved each chain, as the Euclidean distance in data units, (chains,).
        training_steps: steps in training.
        kernel: name of the kernel.
    """

    steps: np.ndarray
    energy: np.ndarray
    frame_steps: np.ndarray
    frames: np.ndarray
    distance: np.ndarray
    training_steps: int
    kernel: str


#: Revises so many samples by so many steps.
Reviser = Callable[[int, int], Revised]


class RevisionOfSamples(Metric):
    """By how much the energy falls along the chains that revise a generator's samples, in training's steps and far beyond."""

    name = "sample_revision"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "revision_energy_change": MetricInfo("nats", None, "mean change of E from a generator's samples to the revised ones"),
        "revision_long_change": MetricInfo("nats", None, f"mean change of E from revised samples to the same chains after {STEPS:,} steps"),
        "revision_distance": MetricInfo("data units", None, "mean Euclidean distance of revised samples from the generator's"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Nothing of models that revise no samples."""
        return () if evaluation.revised is None else tuple(self.ids)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.revised is None:
            return
        found = evaluation.revised(CHAINS, STEPS)
        arrays = {"steps": found.steps, "energy": found.energy, "frame_steps": found.frame_steps, "frames": found.frames[:, :KEPT]}
        arrays["training_steps"] = np.array(found.training_steps)
        evaluation.drawn.update({f"sample_revision/{name}": value.astype(np.float32) for name, value in arrays.items()})
        at = int(np.flatnonzero(found.steps == found.training_steps)[0])
        changes = found.energy[at] - found.energy[0], found.energy[-1] - found.energy[at], found.distance
        for metric, values in zip(self.ids, changes, strict=True):
            mean, error = mean_and_error(values)
            protocol = f"{len(values)} samples of the generator, {found.training_steps} steps of {found.kernel}"
            yield self.measured(metric, mean, len(values), error, protocol)
