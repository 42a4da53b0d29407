"""The compose stage: two trained energies in the plane made into one, sampled, and measured against the true densities made into one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ebmpipe import registry
from ebmpipe.checking import IDENTIFIER
from ebmpipe.composition import COMPOSITIONS, Composition, Difference, NoLaw, check_proper
from ebmpipe.config import CompositionConfig, SamplingConfig
from ebmpipe.data.base import Density
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import Energy, GaussianLaw, TrueEnergy, frozen
from ebmpipe.evaluation import log_unnormalised, rows_of, to_json, write_npz
from ebmpipe.files import digest, sha256, write_arrays, write_json, write_signed
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method, Samples, long_chains
from ebmpipe.metrics.base import Evaluation, Measurement, Metric, NotAvailable
from ebmpipe.metrics.estimators.hints import Hints, evaluate
from ebmpipe.metrics.estimators.rejection import NotEnclosed, envelope_of
from ebmpipe.metrics.quadrature import box_about, density_grid, log_partition
from ebmpipe.optimisation import Diverged
from ebmpipe.progress import Progress
from ebmpipe.provenance import Stopwatch, choose_device, commit, versions
from ebmpipe.runs import RunFolder, composition_folder
from ebmpipe.seeding import numpy_generator, torch_generator
from ebmpipe.spec import DataSpec

#: Bumped when the numerics of this stage change.
COMPOSING_REVISION = 1
#: Families of metrics that a composition is measured by: likelihood, and chains against exact samples.
FAMILIES = ("quadrature", "mmd", "energy_distance", "sliced_wasserstein")
#: Exact samples of the true law that all is measured on, and points per side of the figure's grids.
TEST, GRID = 20_000, 240
#: What a composition's folder holds beside composition.json.
FILES = ("config.json", "samples.safetensors", "metrics.json", "arrays.npz")


@dataclass(frozen=True)
class Part:
    """One of the two laws.

    Attributes:
        method: the trained run.
        density: the true density of its data.
        log_z: log-partition of the run's energy, by quadrature.
        points: its test data, where a density of it may not be overlooked.
    """

    method: Method
    density: Density
    log_z: float
    points: np.ndarray


class ComposedDensity(Density):
    """The composition of two true densities, normalised by quadrature; exact samples by rejection.

    Args:
        name: of the composition.
        composition: of the two true energies.
        parts: the densities that they are of.
        points: where the two have their mass, for the integral.

    Raises:
        NoLaw: if it has no integral.
        NotEnclosed: if it cannot be sampled by rejection.
    """

    def __init__(self, name: str, composition: Composition, parts: tuple[Density, Density], points: np.ndarray) -> None:
        self.name = name  # type: ignore[misc]
        self.composition = composition
        self.reach = max(part.reach for part in parts)  # type: ignore[misc]
        try:
            values = evaluate(self._unnormalised, points)
            self.log_z, _ = log_partition(self._unnormalised, *box_about(points), Hints(points, values))
        except NotAvailable as reason:
            raise NoLaw(f"of the true densities: {reason}") from reason
        self.envelope = envelope_of(self._unnormalised, self.reach, self.log_z)

    def _unnormalised(self, x: np.ndarray) -> np.ndarray:
        return -self.composition(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))).numpy()

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return self._unnormalised(x) - self.log_z

    def score(self, x: np.ndarray) -> np.ndarray:
        return -self.composition.grad(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))).numpy()

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.envelope.sample(n, rng)


def part_of(name: str, seed: int, results: Path, device: str) -> Part:
    """One of the two, from ``dataset/label``.

    Raises:
        ValueError: if it is no run in the plane.
        NoLaw: if its energy has no integral.
        Diverged: if it diverged.
    """
    dataset, label = name.split("/")
    folder, data = RunFolder.of(results, dataset, label, seed), Prepared(results / "data" / dataset, dataset)
    density = registry.load("data", dataset)()
    if not isinstance(density, Density):
        raise ValueError(f"{name}: only densities in the plane are composed; {dataset} is {data.spec.kind}")
    if lost := folder.training_divergence:
        raise Diverged(f"{name} diverged: {lost}")
    method = load_run(folder, data, device)
    points = data.split("test").astype(np.float64)
    energy = log_unnormalised(method.energy_function(), device)
    with frozen(method):
        try:
            log_z, _ = log_partition(energy, *box_about(points), Hints(points, evaluate(energy, points)))
        except NotAvailable as reason:
            raise NoLaw(f"that of {name} has no integral by itself: {reason}") from reason
    return Part(method, density, log_z, points)


def composed(config: CompositionConfig, parts: tuple[Part, Part]) -> tuple[Composition, Composition]:
    """The learned energy and the true one.

    Raises:
        ValueError: if the weight is out of range.
        NoLaw: if it makes no law of the learned energies.
    """
    kind, (one, other) = COMPOSITIONS[config.by], parts
    learned = kind(one.method.energy_function(), other.method.energy_function(), config.weight, (one.log_z, other.log_z))
    if isinstance(learned, Difference):
        check_proper(learned.weight, one.method.tilted, other.method.tilted)
    return learned, kind(TrueEnergy(one.density), TrueEnergy(other.density), config.weight)


def measured(evaluation: Evaluation, truth: Energy, device: str) -> Iterator[Measurement]:
    """Every family's rows, then those of the likelihood of the true energy itself, as ``@truth``: what a composition without error has."""
    families: list[Metric] = [registry.load("metrics", name)() for name in FAMILIES]
    for family in families:
        yield from rows_of(family, evaluation)
    exact = replace(evaluation, log_unnormalised=log_unnormalised(truth, device), cache={})
    yield from (row.at("truth") for row in rows_of(families[0], exact))


def start_of(parts: tuple[Part, Part]) -> GaussianLaw:
    """Where chains start: a Gaussian as broad as the broader base, between the two."""
    bases = [cast(GaussianLaw, part.method.base) for part in parts]
    return GaussianLaw((2,), sum(base.mean for base in bases) / 2, max(base.std for base in bases))


def drawn(
    learned: Energy, truth: Energy, parts: tuple[Part, Part], config: SamplingConfig, seed: int, device: str, title: str
) -> dict[str, Samples]:
    """Long chains of the learned energy (``fresh``) and, by the same kernel, of the true one (``truth``)."""
    found: dict[str, Samples] = {}
    with Progress(f"{title}, laws sampled", 2) as progress:
        for name, energy in (("fresh", learned), ("truth", truth)):
            generator = torch_generator(seed, "composition", name, device=device)
            found[name] = long_chains(energy, start_of(parts), config, config.n, generator)
            progress.advance(None, 1)
    return found


def inputs(config: CompositionConfig, seed: int, results: Path) -> dict[str, str]:
    """Checksums of the models that a composition is made of."""
    pairs = {name: name.split("/") for name in config.of}
    folders = {name: RunFolder.of(results, dataset, label, seed) for name, (dataset, label) in pairs.items()}
    return {name: sha256(folder.verified("model.safetensors")) for name, folder in folders.items()}


def compose(name: str, config: CompositionConfig, seed: int, results: Path, sampling: SamplingConfig, device: str = "auto") -> Path:
    """Write config.json, samples.safetensors, metrics.json, arrays.npz and composition.json of a composition; returns its folder.

    Of one that is made of a run that diverged, whose chains leave for where they are not finite, or that is no law, every metric says so:
    that is known only of trained runs, and is a result of theirs.

    Args:
        name: of the composition.
        config: of which runs, and how.
        seed: that of both runs.
        results: the results folder.
        sampling: how its chains are drawn.
        device: as in training.

    Raises:
        FileNotFoundError: if there are no such runs.
        ValueError: if ``name`` is no id, the runs are not in the plane, or the weight is out of range. Nothing is written then.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"compositions: {name!r} {IDENTIFIER}")
    device, stopwatch = choose_device(device), Stopwatch(choose_device(device))
    settings: dict[str, Any] = {"name": name, "seed": seed, **config.model_dump(mode="json"), "sampling": sampling.model_dump(mode="json")}
    status, reason, made_of = "finished", None, inputs(config, seed, results)
    weight = COMPOSITIONS[config.by].default_weight if config.weight is None else config.weight
    try:
        parts = cast("tuple[Part, Part]", tuple(part_of(part, seed, results, device) for part in config.of))
        learned, truth = composed(config, parts)
        with torch.no_grad(), ExitStack() as stack:
            for part in parts:
                stack.enter_context(frozen(part.method))
            rows, samples, arrays = results_of(name, learned, truth, parts, sampling, seed, device)
    except (Diverged, NoLaw, NotEnclosed) as nothing:
        status, reason = what_is_said_of(nothing), str(nothing)
        families = [registry.load("metrics", family) for family in FAMILIES]
        rows = [Measurement(key, None, info.unit, status=status) for family in families for key, info in family.ids.items()]
        samples, arrays = {}, {}
    folder = composition_folder(results, name, seed)
    write_json(folder / "config.json", settings | {"weight": weight})
    write_arrays(folder / "samples.safetensors", samples, {"status": status})
    write_json(folder / "metrics.json", {"status": status, "rows": [to_json(row) for row in rows]})
    write_npz(folder / "arrays.npz", arrays)
    ledger: dict[str, Any] = {"status": status, "reason": reason, "config_hash": digest(settings), "inputs": made_of}
    ledger |= {"versions": versions(), "commit": commit(), "stage": stopwatch.record()}
    write_signed(folder / "composition.json", ledger | {"files": {file: sha256(folder / file) for file in FILES}})
    return folder


def what_is_said_of(nothing: Exception) -> str:
    """The status of a composition without numbers, and of each of its metrics."""
    if isinstance(nothing, Diverged):
        return "diverged"
    return f"not available: {'no law: ' * isinstance(nothing, NoLaw)}{nothing}"


def results_of(
    name: str, learned: Composition, truth: Composition, parts: tuple[Part, Part], sampling: SamplingConfig, seed: int, device: str
) -> tuple[list[Measurement], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Numbers, samples and what figures draw.

    Raises:
        Diverged: if chains or energies are not finite.
        NoLaw: if the true densities make none.
        NotEnclosed: if what they make cannot be sampled exactly.
    """
    points = np.concatenate([part.points for part in parts])
    density = ComposedDensity(name, truth, (parts[0].density, parts[1].density), points)
    # The reference is the same for every seed.
    test = density.sample(TEST, numpy_generator(0, "composition", name, "test"))
    spec = DataSpec(name, "density", (2,), float(test.mean()), float((test - test.mean()).std()), None, None, None, Path())
    chains = drawn(learned, truth, parts, sampling, seed, device, f"compositions/{name}/seed{seed}")
    samples = {source: found.x.float().cpu().numpy() for source, found in chains.items()}
    for source, x in samples.items():
        if lost := int((~np.isfinite(x).all(axis=1)).sum()):
            raise Diverged(f"{lost} of {len(x)} {source} samples of the composition are not finite")
    samples["exact"] = density.sample(sampling.n, numpy_generator(seed, "composition", "exact")).astype(np.float32)
    energy = log_unnormalised(learned, device)
    evaluation = Evaluation(
        spec=spec,
        test=test,
        train=test[:0],
        validation=test[:0],
        samples=samples,
        primary="fresh",
        rng=lambda family: numpy_generator(seed, "composition", family),
        log_unnormalised=energy,
        density=density,
    )
    rows = list(measured(evaluation, truth, device))
    centre, half = box_about(points)
    half *= 0.75
    extent = (centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half)
    grids = {"first": (log_unnormalised(parts[0].method.energy_function(), device), parts[0].log_z)}
    grids |= {"second": (log_unnormalised(parts[1].method.energy_function(), device), parts[1].log_z)}
    log_z = next((row.value for row in rows if row.metric == "log_z"), None)
    if log_z is not None:
        grids["composed"] = (energy, log_z)
    grids["truth"] = (density.log_density, 0.0)
    arrays: dict[str, np.ndarray] = {}
    for key, (law, z) in grids.items():
        arrays["grid_x"], arrays["grid_y"], arrays[f"log_density_{key}"] = density_grid(law, z, extent, n=GRID)
    return rows, samples, arrays
