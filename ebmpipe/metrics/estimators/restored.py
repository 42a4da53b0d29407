"""Families of numbers on restored examples: which reconstructions, and what is said of each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.image_quality import WINDOW, psnr, squared_errors, ssim, unit
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.restoration.restored import Restored, Task
from ebmpipe.spec import DataSpec

#: What of each a figure shows.
SHOWN = 10


def image_ids(task: Task) -> dict[str, MetricInfo]:
    """The ids of a task on images."""
    where = "" if task == "denoising" else " of the missing pixels"
    return {
        f"{task}_psnr": MetricInfo("dB", "higher", f"peak signal-to-noise ratio{where} of the posterior mean, mean over test images"),
        f"{task}_mse": MetricInfo("", "lower", f"mean squared error{where} of the posterior mean, pixels in [0, 1]"),
        f"{task}_ssim": MetricInfo("", "higher", "structural similarity of the posterior mean and the image"),
    }


class RestorationMetric(Metric):
    """Reconstructions of test images against the images; in the plane, what a conditional law comes to against the true one.

    Attributes:
        task: what is restored.
        baseline: source of the ids of a reconstruction without a model.
        plane: the id in the plane.
    """

    task: ClassVar[Task]
    baseline: ClassVar[str]
    plane: ClassVar[str]

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind in ("images", "density")

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """On images each id by posterior mean (bare), single draw and baseline; in the plane one, and its baseline."""
        if evaluation.spec.kind == "density":
            return (self.plane, f"{self.plane}@{self.baseline}")
        bare = [metric for metric in image_ids(self.task) if self.similar(evaluation) or not metric.endswith("ssim")]
        return tuple(metric + source for source in ("", "@sample", f"@{self.baseline}") for metric in bare)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.restored is None:
            raise NotAvailable("the run has no energy")
        found = evaluation.restored(self.task)
        if evaluation.spec.kind == "density":
            yield from self.in_the_plane(found, evaluation)
            return
        for name in ("clean", "observed", "sample", "mean"):
            evaluation.drawn[f"{self.task}_{name}"] = getattr(found, name)[:SHOWN]
        for source, restored in (("", found.mean), ("sample", found.sample), (self.baseline, self.without_model(found, evaluation))):
            for row in self.of_images(found, restored, evaluation):
                yield row.at(source) if source else row

    def of_images(self, found: Restored, restored: np.ndarray, evaluation: Evaluation) -> Iterator[Measurement]:
        """The rows of one reconstruction (n, *event)."""
        clean, restored = unit(found.clean), unit(restored)
        errors = squared_errors(clean, restored, found.missing)
        values = {"psnr": psnr(errors), "mse": errors} | ({"ssim": ssim(clean, restored)} if self.similar(evaluation) else {})
        said = f"n = {len(clean)} of the test split, dequantised, {found.protocol}"
        for kind, each in values.items():
            mean, error = mean_and_error(each)
            yield self.measured(f"{self.task}_{kind}", mean, len(each), error, said)

    def similar(self, evaluation: Evaluation) -> bool:
        """Whether images are large enough for structural similarity."""
        return min(evaluation.spec.shape[1:]) >= WINDOW

    @abstractmethod
    def without_model(self, found: Restored, evaluation: Evaluation) -> np.ndarray:
        """The reconstruction of the baseline, (n, *event)."""

    @abstractmethod
    def in_the_plane(self, found: Restored, evaluation: Evaluation) -> Iterator[Measurement]:
        """The rows in the plane."""
