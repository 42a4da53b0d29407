"""A look at one trained run: a few numbers that are cheap to have, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebmpipe import registry
from ebmpipe.config import SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.evaluation import log_unnormalised, rows_of
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method, NoEnergy
from ebmpipe.metrics.base import Evaluation, Measurement
from ebmpipe.metrics.quadrature import Quadrature, density_grid, normalise
from ebmpipe.provenance import choose_device
from ebmpipe.report.glance import SIDE, Glance, draw
from ebmpipe.report.pictures import window
from ebmpipe.report.reading import Run
from ebmpipe.runs import RunFolder
from ebmpipe.seeding import numpy_generator, torch_generator
from ebmpipe.starting_points import starting_point

#: File in the run's folder; it is made for the eye and stands in no ledger.
PICTURE = "picture.png"
#: Points per side of the density's grid.
GRID = 240
#: Held-out examples that are shown and, on the plane, hints to the quadrature.
SHOWN = 5000


class NoPicture(ValueError):
    """A run is trained and recorded, but could not be drawn; the message says why."""


def take_glance(folder: RunFolder, data_folder: Path, device: str = "auto") -> tuple[Path, list[str]]:
    """Draw ``picture.png`` of a trained run into its folder, and say what there is to say.

    Returns:
        The picture's path and the closing lines.

    Raises:
        NoPicture: if anything goes wrong. The run's other files are as they were.
    """
    try:
        glance, lines = look(folder, Prepared(data_folder), choose_device(device))
        draw(glance, folder / PICTURE)
    except Exception as error:
        raise NoPicture(
            f"{folder.path} is trained and recorded, but its picture could not be drawn ({type(error).__name__}: {error}); "
            "the same command draws it again, --no-picture leaves it out"
        ) from error
    return folder / PICTURE, lines


@torch.no_grad()
def look(folder: RunFolder, data: Prepared, device: str) -> tuple[Glance, list[str]]:
    """All that the picture shows, and the closing lines."""
    config, ledger = folder.config, folder.ledger
    run = Run(folder.path, config.dataset, config.label, config.seed)
    # What is looked at while settings are sought is not what claims are made on.
    rng, few = numpy_generator(config.seed, "glance", "validation"), SHOWN if data.spec.kind == "density" else SIDE**2
    # All points of the plane, for the likelihood; of images no more than are shown.
    held_out = data.model_space("validation", rng) if data.spec.kind == "density" else next(data.in_parts("validation", rng, few))
    shown: dict[str, Any] = {"run": run, "spec": data.spec, "data": held_out[:few]}
    shown["method"] = registry.load("methods", config.method).title
    lost = folder.training_divergence
    rows: list[Measurement] = []
    if lost is not None:
        shown["lost"] = lost
    else:
        method = load_run(folder, data, device)
        if data.spec.kind == "density":
            found, rows = density_of(method, data, held_out, device)
        else:
            found = samples_of(method, data, config.seed, device)
        shown |= found
    numbers = summary(ledger, rows)
    lines = [" · ".join(numbers), *(f"{row.metric}: {row.status}" for row in rows if row.value is None)]
    return Glance(summary=lines[0], **shown), lines


def summary(ledger: Mapping[str, Any], rows: list[Measurement]) -> list[str]:
    """What the run cost and, on the plane, how good it is; each in a few words."""
    train = ledger["stages"]["train"]
    numbers = ["a control: nothing is trained"]
    if ledger["iterations"] or train["status"] == "diverged":
        before = "diverged after " * (train["status"] == "diverged")
        updates = f"{ledger['step']:,} update" + "s" * (ledger["step"] != 1)
        numbers = [before + updates, f"{ledger['gradient_evaluations']:,} gradient evaluations"]
        numbers.append(f"{train['wall_s']:,.1f} s")
    for row in rows:
        if row.value is not None:
            error = f" ± {row.stderr:.2g}" if row.stderr else ""
            numbers.append(f"{row.metric} {row.value:.4g}{error} {row.unit}".rstrip())
    return numbers


def density_of(method: Method, data: Prepared, held_out: np.ndarray, device: str) -> tuple[dict[str, Any], list[Measurement]]:
    """The normalised density of a model on the plane, on a grid, and its likelihood on held-out data."""
    try:
        method.energy(torch.from_numpy(held_out[:1]).float().to(device))
    except NoEnergy as reason:
        return {"missing": f"no density: {reason}"}, []
    chains = method.chains()
    evaluation = Evaluation(
        spec=data.spec,
        test=held_out,
        train=held_out[:0],
        validation=held_out[:0],
        # A peak that the chains fell into counts in log Z, even one far from the data.
        samples={} if chains is None else {"persistent": chains.x.double().cpu().numpy()},
        primary="persistent",
        rng=lambda name: numpy_generator(0, "glance", name),
        log_unnormalised=log_unnormalised(method.energy_function(), device),
        density=registry.load("data", data.spec.name)(),
    )
    measured = {row.metric: row for row in rows_of(Quadrature(), evaluation)}
    rows = [measured["nll_gap"], measured["log_z"]]
    if measured["log_z"].value is None:
        return {"missing": f"the density cannot be normalised\n{measured['log_z'].status}"}, rows
    assert evaluation.log_unnormalised is not None
    names = ("grid_x", "grid_y", "log_density")
    log_z, _ = normalise(evaluation)
    grid = density_grid(evaluation.log_unnormalised, log_z, window(held_out[:SHOWN]), GRID)
    return {"grid": dict(zip(names, grid, strict=True))}, rows


def samples_of(method: Method, data: Prepared, seed: int, device: str) -> dict[str, Any]:
    """A sheet of samples: the persistent chains of training if there are any, else some of its own sampler, else of long chains."""
    count = SIDE**2
    method.sampling = SamplingConfig.model_validate(starting_point(data.spec.name, data.folder).get("sampling", {}) | {"n": count})
    jump = ", denoised" if method.denoises else ""
    chains = method.chains()
    if chains is not None:
        return {"samples": method.denoised(chains.x[:count]).double().cpu().numpy(), "made": f"persistent chains{jump}"}
    generator = torch_generator(seed, "sampling", "glance", device=device)
    drawn = method.own_samples(count, generator) or method.sample(count, generator)
    made = drawn.sampler + (f" of {drawn.sampler_steps:,} steps" if drawn.sampler_steps else "") + jump
    return {"samples": drawn.x.double().cpu().numpy(), "made": made}
