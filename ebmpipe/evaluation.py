"""The evaluate stage: every metric that applies, and the arrays that figures draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebmpipe import registry
from ebmpipe.bracketing import bracketed, probabilities_of, score_of
from ebmpipe.config import EvaluationConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import Energy, on_arrays
from ebmpipe.features.choosing import absent_spaces, load_spaces
from ebmpipe.files import atomic, read_arrays, write_json
from ebmpipe.flow_base import load_base
from ebmpipe.foreign.sets import load_foreign
from ebmpipe.interpolating import interpolator
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method
from ebmpipe.metrics.base import Evaluation, Measurement, Metric, NotAvailable
from ebmpipe.metrics.classification import on_test
from ebmpipe.metrics.long_run import LongRuns, quality_along
from ebmpipe.metrics.quadrature import density_grid, normalise
from ebmpipe.mixing.record import FILE, LongRun
from ebmpipe.optimisation import Diverged
from ebmpipe.provenance import Stopwatch, choose_device
from ebmpipe.reconstructing import reconstructor
from ebmpipe.restoring import restorer
from ebmpipe.revising import reviser
from ebmpipe.runs import RunFolder
from ebmpipe.sampling import BEFORE_JUMP
from ebmpipe.scored import Scored
from ebmpipe.seeding import numpy_generator, torch_generator

#: Bumped when the numerics of this stage change; metrics have revisions of their own.
EVALUATION_REVISION = 4
#: Most test examples, and most samples, whose energies a figure shows.
SHOWN = 20_000
#: The family that looks at other sets than the data.
OUT_OF_DISTRIBUTION = "out_of_distribution"
LogDensity = Callable[[np.ndarray], np.ndarray]


def log_unnormalised(energy: Energy, device: str) -> LogDensity:
    """-E as a function of numpy arrays (n, *event) -> (n,) float64; -inf is a density of zero.

    It raises `Diverged` where E is NaN or -inf: no density has those.
    """
    on_numpy = on_arrays(energy, device)

    def evaluate_(x: np.ndarray) -> np.ndarray:
        values = on_numpy(x)
        if lost := int((np.isnan(values) | (values == -np.inf)).sum()):
            raise Diverged(f"the energy is not finite at {lost} of {len(values)} points")
        return -values

    return evaluate_


def chosen_metrics(config: EvaluationConfig, data: Prepared) -> list[Metric]:
    """The families that ``config`` names, or all, restricted to those that mean something on these data.

    Raises:
        UnknownMember: if there is no such family.
    """
    names = registry.names("metrics") if config.metrics is None else config.metrics
    families: list[Metric] = [registry.load("metrics", name)() for name in names]
    return [family for family in families if family.applies(data.spec)]


def wanted(family: str, config: EvaluationConfig) -> bool:
    """Whether ``config`` asks for a family."""
    return config.metrics is None or family in config.metrics


def rows_of(family: Metric, evaluation: Evaluation) -> list[Measurement]:
    """The family's measurements, or every one of its ids with the reason why there is none."""
    try:
        return list(family.compute(evaluation))
    except NotAvailable as reason:
        return list(family.unavailable(reason, evaluation))


def measured(families: list[Metric], evaluation: Evaluation) -> list[Measurement]:
    """What all families come to."""
    return [row for family in families for row in rows_of(family, evaluation)]


def figure_arrays(evaluation: Evaluation, method: Method, config: EvaluationConfig) -> dict[str, np.ndarray]:
    """Energies of data, samples and noise, in 2-D the normalised log-density on a grid, and what families of metrics left for figures.

    What has no value is absent.

    An energy of data smoothed by noise is shown what it describes: test data with that noise, and samples before the denoising jump.
    Noise is the base, on which the energy is built. Of a classifier there are the confidences in its choices, and whether they are right.
    """
    if evaluation.log_unnormalised is None:
        return {}
    energy, generator = evaluation.log_unnormalised, torch_generator(0, "evaluation", "figures")
    test = torch.from_numpy(np.asarray(evaluation.test[:SHOWN])).float()
    source = evaluation.primary
    samples = evaluation.samples.get(BEFORE_JUMP.get(source, source), evaluation.samples.get(source))
    arrays = dict(evaluation.drawn)
    arrays |= {
        "energy_data": -energy(method.smoothed(test, method.noise_level, generator).numpy()),
        "energy_noise": -energy(method.base.sample(len(test), generator).numpy()),
    }
    if samples is not None:
        arrays["energy_samples"] = -energy(samples[:SHOWN])
    arrays |= classified(evaluation)
    if evaluation.spec.kind == "density":
        try:
            log_z, _ = normalise(evaluation)
        except NotAvailable:
            return arrays
        points = np.asarray(evaluation.test)
        centre = (points.max(0) + points.min(0)) / 2
        half = 0.6 * float(np.ptp(points, axis=0).max())
        extent = (centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half)
        names = ("grid_x", "grid_y", "log_density")
        arrays |= dict(zip(names, density_grid(energy, log_z, extent, n=config.grid), strict=True))
    return arrays


def classified(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Of a classifier, its confidence at the test examples, (n,), and 1 where it is right, 0 where not; likewise with the model's noise."""
    if evaluation.class_probabilities is None or evaluation.test_labels is None:
        return {}
    arrays: dict[str, np.ndarray] = {}
    for smoothed, suffix in ((False, ""), (True, "_smoothed")):
        if not smoothed or evaluation.smoothed is not None:
            try:
                found = on_test(evaluation, smoothed)
            except NotAvailable:
                return {}
            arrays |= {f"confidence{suffix}": found.max(axis=1), f"correct{suffix}": found.argmax(axis=1) == evaluation.test_labels}
    return arrays


def quality_arrays(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Distances to the test split along chains of the long run, and their standard errors: ``long_run/{metric}``, with ``_stderr``.

    Of latent chains likewise, ``{kernel}/{metric}``.
    """
    found: dict[str, np.ndarray] = {}
    framed = evaluation.long_run.framed if evaluation.long_run is not None else {}
    for place, kernel in enumerate(framed):
        start = "long_run" if place == 0 else kernel
        try:
            along = quality_along(evaluation, kernel)
        except NotAvailable:
            continue
        for one in along:
            found |= {f"{start}/{one.metric}": one.values, f"{start}/{one.metric}_stderr": one.errors}
    return found


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as compressed npz, single precision, atomically."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: value.astype(np.float32) for name, value in arrays.items()})  # type: ignore[arg-type]


def evaluate(
    folder: RunFolder,
    data_folder: Path,
    config: EvaluationConfig,
    features: Path | None = None,
    device: str = "auto",
    flow: Path | None = None,
) -> None:
    """Write metrics.json and arrays.npz of a run; of a diverged one every metric says so.

    Args:
        folder: the run.
        data_folder: its prepared data set.
        config: what is measured.
        features: folder of the data set's feature networks; needed by image metrics.
        device: as in training.
        flow: folder of the data set's flow; needed where annealing may begin at one.
    """
    device = choose_device(device)
    with folder.locked():
        stopwatch = Stopwatch(device)
        data = Prepared(data_folder)
        families = chosen_metrics(config, data)
        before = folder.ledger
        reason: str | None = before["reason"]
        rows: list[Measurement] = []
        arrays: dict[str, np.ndarray] = {}
        # What an earlier evaluation found does not count for this one.
        if before["stages"].get("sample", {}).get("status", "finished") == "finished" and folder.training_divergence is None:
            reason = None
            evaluation, method = gather(folder, data, config, features, flow, device)
            try:
                rows = measured(families, evaluation)
                arrays = figure_arrays(evaluation, method, config)
                if any(isinstance(family, LongRuns) for family in families):
                    arrays |= quality_arrays(evaluation)
            except Diverged as divergence:
                reason, arrays = f"evaluation: {divergence}", {}
        if reason is not None:
            # Of two families that share an id, only one would have reported it.
            units = {key: info.unit for family in families for key, info in family.ids.items()}
            rows = [Measurement(key, None, unit, status="diverged") for key, unit in units.items()]
        status = "finished" if reason is None else "diverged"
        write_json(folder / "metrics.json", {"status": status, "rows": [to_json(row) for row in rows]})
        write_npz(folder / "arrays.npz", arrays)
        folder.record("evaluate", stopwatch.record() | {"source": config.source}, status, reason)


def to_json(row: Measurement) -> dict[str, Any]:
    """One row of metrics.json.

    Raises:
        ValueError: if a metric yielded a number that is none, which must never reach a table.
    """
    if (row.value is None) == (row.status == "ok") or (row.value is not None and not np.isfinite(row.value)):
        raise ValueError(f"{row.metric} is {row.value} with status {row.status!r}: a value must be finite, or null with a reason")
    return {key: getattr(row, key) for key in ("metric", "value", "stderr", "n", "status", "unit", "protocol")}


def evaluation_of(
    scored: Scored,
    data: Prepared,
    config: EvaluationConfig,
    features: Path | None,
    flow: Path | None,
    device: str,
    long_run: LongRun | None = None,
) -> Evaluation:
    """All that metrics may look at.

    Args:
        scored: what is scored.
        data: the prepared data set that it is compared with.
        config: what is measured, and how log Z is estimated.
        features: folder of the data set's feature networks; needed by image metrics.
        flow: folder of its flow; needed where annealing may begin at one.
        device: where the energy lives.
        long_run: the long runs of its energy, if they were made.
    """
    spaces = load_spaces(config.features, data.spec, features)
    # The reference must not depend on the run's seed, or methods would be compared with different data.
    test, train, validation = (data.view(split, "evaluation", split) for split in ("test", "train", "validation"))
    smooth = scored.smooth

    def smoothed(part: slice) -> np.ndarray:
        assert smooth is not None
        clean = torch.from_numpy(np.asarray(test[part], dtype=np.float32))
        return np.asarray(smooth(clean, torch_generator(0, "evaluation", "smoothed", part.start)))

    def noisy(x: np.ndarray, stream: str) -> np.ndarray:
        assert smooth is not None
        clean = torch.from_numpy(np.asarray(x, dtype=np.float32))
        return np.asarray(smooth(clean, torch_generator(0, "evaluation", stream)), dtype=np.float64)

    return Evaluation(
        spec=data.spec,
        test=test,
        train=train,
        validation=validation,
        samples=scored.samples,
        primary=scored.source,
        rng=lambda name: numpy_generator(scored.seed, "evaluation", name),
        log_unnormalised=None if scored.energy is None else log_unnormalised(scored.energy, device),
        score=score_of(scored, device),
        class_probabilities=probabilities_of(scored, device),
        test_labels=None if data.spec.classes is None else data.labels("test"),
        bracket=bracketed(scored, lambda: load_base(flow, data, config.partition.base_noise), config.partition, device),
        smoothed=smoothed if smooth else None,
        noise_level=scored.noise_level,
        noisy=noisy if smooth else None,
        foreign=load_foreign(config.out_of_distribution, data) if wanted(OUT_OF_DISTRIBUTION, config) else {},
        restored=restorer(scored, data.spec, test, config.restoration, device),
        reconstructed=reconstructor(scored, test, device),
        revised=reviser(scored, device),
        interpolated=interpolator(scored, device),
        log_partition=scored.log_partition,
        long_run=long_run,
        density=registry.load("data", data.spec.name)() if data.spec.kind == "density" else None,
        law=registry.load("data", data.spec.name)() if data.spec.kind == "binary" and data.spec.entropy is not None else None,
        feature_spaces=spaces,
        absent_spaces=absent_spaces(spaces, data.spec),
        data_sha256=data.card["data_sha256"],
        references=features,
    )


def gather(
    folder: RunFolder, data: Prepared, config: EvaluationConfig, features: Path | None, flow: Path | None, device: str
) -> tuple[Evaluation, Method]:
    """All that metrics may look at of a run, and the method itself.

    The last frame of a long run that came to its end is a source of samples as well, ``long_run``.
    """
    method = load_run(folder, data, device)
    samples, _ = read_arrays(folder.verified("samples.safetensors"))
    long_run = LongRun.read(folder.verified(FILE)) if FILE in folder.ledger["files"] else None
    if long_run is not None and long_run.kernels and long_run.primary.lost is None:
        samples["long_run"] = long_run.frames[-1]
    scored = Scored.of(method, samples, config.source, folder.config.seed, device)
    return evaluation_of(scored, data, config, features, flow, device, long_run), method
