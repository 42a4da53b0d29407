"""Test examples as a generator gives them back, from the latent vectors that they may have come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo
from ebmpipe.metrics.estimators.image_quality import WINDOW, psnr, squared_errors, ssim, unit
from ebmpipe.metrics.quadrature import mean_and_error
from ebmpipe.spec import DataSpec

#: Test examples, of which so many are kept for figures; and chains for each whose reconstructions are averaged.
EXAMPLES, KEPT, DRAWS = 256, 10, 8


@dataclass(frozen=True)
class Reconstructed:
    """Test examples and what became of them. Arrays are float64 in model space.

    Attributes:
        clean: the examples, (n, *event).
        inferred: g(μ(x)), by the inference model alone, (n, *event); None if none learned.
        revised: g(z) after as many steps of the posterior's kernel as in training, (n, *event).
        averaged: the mean of `DRAWS` such chains, (n, *event); None if training takes no step.
        steps: after how many steps ``profile`` was taken, (k,).
        profile: mean squared error in model space, (starts, k), of chains from the prior and, if it learned, from the inference model.
        between: g(z) on the way from one example's z to another's, straight: (pairs, points, *event).
        training_steps: steps of the posterior's kernel in training.
        kernel: its name.
    """

    clean: np.ndarray
    inferred: np.ndarray | None
    revised: np.ndarray
    averaged: np.ndarray | None
    steps: np.ndarray
    profile: np.ndarray
    between: np.ndarray
    training_steps: int
    kernel: str


#: Reconstructs so many test examples.
Reconstructor = Callable[[int], Reconstructed]


class Reconstruction(Metric):
    """How far examples are from what the generator makes of their latent vectors, by the inference model alone and after its chains."""

    name = "reconstruction"
    revision = 2
    ids: ClassVar[dict[str, MetricInfo]] = {
        "reconstruction_mse": MetricInfo(
            "", "lower", "mean squared error of reconstructed test examples; of images, pixels in [0, 1]", controlled=False
        ),
        "reconstruction_psnr": MetricInfo("dB", "higher", "peak signal-to-noise ratio of reconstructed test images", controlled=False),
        "reconstruction_ssim": MetricInfo("", "higher", "structural similarity of reconstructed test images", controlled=False),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Nothing of models without a generator; bare ids after the chains of training, ``@averaged`` the mean of several of them, and
        ``@inferred`` by the inference model alone."""
        if evaluation.reconstructed is None:
            return ()
        spec = evaluation.spec
        bare = ["reconstruction_mse"]
        if spec.kind == "images":
            bare += ["reconstruction_psnr"] + ["reconstruction_ssim"] * (min(spec.shape[1:]) >= WINDOW)
        return tuple(f"{metric}{source}" for source in ("", "@averaged", "@inferred") for metric in bare)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        if evaluation.reconstructed is None:
            return
        found = evaluation.reconstructed(EXAMPLES)
        arrays = {"clean": found.clean[:KEPT], "revised": found.revised[:KEPT], "between": found.between}
        arrays |= {} if found.inferred is None else {"inferred": found.inferred[:KEPT]}
        # Pixels in [0, 1] are half as far apart as in model space.
        profile = found.profile / 4 if evaluation.spec.kind == "images" else found.profile
        arrays |= {"steps": found.steps, "profile": profile, "training_steps": np.array(found.training_steps)}
        evaluation.drawn.update({f"reconstruction/{name}": value.astype(np.float32) for name, value in arrays.items()})
        chains = f"{found.training_steps} steps of {found.kernel}" if found.training_steps else "no step"
        begun = "the prior" if found.inferred is None else "the inference model's mean"
        how = f"codes by {chains} from {begun}"
        yield from self.of(found.clean, found.revised, evaluation, how, "")
        others = {
            "averaged": (found.averaged, f"mean of {DRAWS} reconstructions, {how}", "training takes no step under the posterior"),
            "inferred": (found.inferred, "codes by the inference model's mean", "no inference model learned"),
        }
        for source, (made, by, without) in others.items():
            if made is not None:
                yield from self.of(found.clean, made, evaluation, by, source)
            else:
                rows = (metric for metric in self.reports(evaluation) if metric.endswith(f"@{source}"))
                yield from (self.missing(metric, without) for metric in rows)

    def of(self, clean: np.ndarray, made: np.ndarray, evaluation: Evaluation, how: str, source: str) -> Iterator[Measurement]:
        """The rows of one reconstruction (n, *event)."""
        if evaluation.spec.kind == "images":
            clean, made = unit(clean), unit(made)
        values = {"mse": squared_errors(clean, made)}
        if evaluation.spec.kind == "images":
            values["psnr"] = psnr(values["mse"])
            if min(clean.shape[2:]) >= WINDOW:
                values["ssim"] = ssim(clean, made)
        for kind, each in values.items():
            mean, error = mean_and_error(each)
            row = self.measured(f"reconstruction_{kind}", mean, len(each), error, f"n = {len(clean)} of the test split, {how}")
            yield row.at(source) if source else row
