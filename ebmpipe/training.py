"""The train stage: one linear loop for every method."""

from __future__ import annotations

import csv
import io
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebmpipe.batches import Batches
from ebmpipe.checkpoint import Checkpoint, checkpoint_key, remove_checkpoints, save_model
from ebmpipe.config import RunConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import digest, sha256, write_json, write_text
from ebmpipe.flops import FlopCounter
from ebmpipe.loading import make_run, required_folders, resolve
from ebmpipe.methods.base import Method
from ebmpipe.optimisation import Diverged
from ebmpipe.progress import Progress
from ebmpipe.provenance import Stopwatch, choose_device, commit, versions
from ebmpipe.runs import RunFolder
from ebmpipe.seeding import torch_generator

#: What the stage writes beside run.json.
TRAINED_FILES = ("config.json", "history.csv", "model.safetensors")
#: Rows of the history, about.
LOGGED = 200
#: Seconds between checkpoints.
CHECKPOINT_PERIOD = 30.0


#: First columns of the history.
CLOCK = ("step", "gradient_evaluations", "wall_s")


class Interrupted(SystemExit):
    """Asked to stop by a signal; a checkpoint has been written."""


def iterations_within(method: Method, budget: int) -> int:
    """The number of updates that ``budget`` gradient evaluations pay for; 0 for controls.

    Raises:
        ValueError: if they do not pay for one.
    """
    if not method.trains:
        return 0
    iterations = (budget - method.gradient_evaluations_at_start) // method.gradient_evaluations_per_step
    if iterations < 1:
        raise ValueError(
            f"gradient_evaluations = {budget} does not pay for one update of {method.name}, "
            f"which costs {method.gradient_evaluations_per_step} after {method.gradient_evaluations_at_start} at the start"
        )
    return iterations


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the logged rows as CSV; a column that a row lacks is empty there."""
    columns = list(dict.fromkeys(key for row in rows for key in row)) or list(CLOCK)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def make(config: RunConfig, data: Prepared, results: Path, device: str) -> tuple[Method, int]:
    """The method of a run and its number of updates. The schedule's length needs the cost, so it is built twice."""
    iterations = iterations_within(make_run(config, data, results, device), config.gradient_evaluations)
    return make_run(config, data, results, device, iterations), iterations


def inputs(config: RunConfig, data_folder: Path, results: Path) -> dict[str, str]:
    """Checksums of all that a run is made from: its data and the models it builds on."""
    required = required_folders(config, results)
    return {"data": sha256(data_folder / "data.safetensors")} | {role: sha256(f / "model.safetensors") for role, f in required.items()}


def cost_of_required(config: RunConfig, results: Path) -> dict[str, dict[str, Any]]:
    """What the runs that this one builds on cost, theirs included, by role: tables add it to its own."""
    costs = {}
    for role, folder in required_folders(config, results).items():
        ledger = folder.ledger
        costs[role] = {"label": config.requires[role], "wall_s": ledger["stages"]["train"]["wall_s"]} | {
            key: ledger[key] for key in ("training_flops", "gradient_evaluations", "parameters", "required")
        }
    return costs


def give_up(folder: RunFolder, config: RunConfig, reason: str, device: str) -> RunFolder:
    """Record a run that cannot be trained because one that it builds on diverged: as diverged itself, before its first update."""
    settings, stopwatch = config.model_dump(mode="json"), Stopwatch(device)
    write_json(folder / "config.json", settings)
    write_history(folder / "history.csv", [])
    save_model(folder / "model.safetensors", {}, {"method": config.method, "step": "0"})
    nothing = dict.fromkeys(("step", "iterations", "parameters", "training_flops", "gradient_evaluations"), 0)
    top = {"config_hash": digest(settings), "versions": versions(), "commit": commit(), "temperature": None, "required": {}, "inputs": {}}
    folder.record("train", stopwatch.record(), TRAINED_FILES, status="diverged", reason=reason, **nothing, **top)
    return folder


def train(config: RunConfig, data_folder: Path, results: Path, device: str = "auto") -> RunFolder:
    """Train one run, or go on with it where a checkpoint of the same settings, revisions and data exists.

    Writes config.json, model.safetensors, history.csv and run.json into the run's folder. A run that diverges is
    finished with status ``diverged``, its step and reason; its model is the last good one.

    Args:
        config: the run.
        data_folder: the prepared data set.
        results: the results folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...

    Raises:
        Interrupted: on SIGTERM or SIGINT, after a checkpoint.
    """
    device, config = choose_device(device), resolve(config)
    folder = RunFolder.of(results, config.dataset, config.label, config.seed)
    data = Prepared(data_folder)
    lost = [other for other in required_folders(config, results).values() if other.ledger["status"] == "diverged"]
    if lost:
        return give_up(folder, config, f"it builds on {lost[0].path}, which diverged: {lost[0].ledger['reason']}", device)
    method, iterations = make(config, data, results, device)
    batches = Batches(data, method.config.batch_size, config.seed, device) if iterations else None
    generator = torch_generator(config.seed, "noise", device=device)

    settings = config.model_dump(mode="json")
    made_from = inputs(config, data_folder, results)
    checkpoint_path = folder / f"checkpoints/{checkpoint_key(settings, made_from)}.safetensors"
    history: list[dict[str, Any]] = []
    first, flops, seconds_before = 0, 0, 0.0
    if checkpoint_path.exists():
        checkpoint = Checkpoint.load(checkpoint_path)
        method.load_state_dict(checkpoint.model)
        generator.set_state(checkpoint.generator)
        history, first = checkpoint.history, checkpoint.step
        flops, seconds_before = checkpoint.extra["flops_per_step"], checkpoint.extra["wall_s"]
        print(f"resuming {folder.path} at step {first} of {iterations}", file=sys.stderr)

    stopwatch = Stopwatch(device)
    begun = time.perf_counter()

    def save_checkpoint(step: int) -> None:
        extra = {"flops_per_step": flops, "wall_s": seconds_before + time.perf_counter() - begun}
        Checkpoint(step, method.state_dict(), generator.get_state(), history, extra).save(checkpoint_path)

    def logged(step: int, report: dict[str, Any]) -> dict[str, Any]:
        numbers = {key: float(value.detach() if isinstance(value, Tensor) else value) for key, value in report.items()}
        cost = method.gradient_evaluations_at_start + step * method.gradient_evaluations_per_step
        wall = round(seconds_before + time.perf_counter() - begun, 3)
        return dict(zip(CLOCK, (step, cost, wall), strict=True)) | numbers

    report: dict[str, Any] = {}
    asked_to_stop: list[int] = []
    previous = {number: signal.signal(number, lambda n, _: asked_to_stop.append(n)) for number in (signal.SIGTERM, signal.SIGINT)}
    status, reason, done, saved_at = "finished", None, first, time.monotonic()
    period = max(1, iterations // LOGGED)
    try:
        with Progress(f"{config.dataset}/{config.label}/seed{config.seed}", iterations, first) as progress:
            for step in range(first, iterations):
                assert batches is not None
                try:
                    batch = batches.at(step, generator)
                    if method.config.data_noise:
                        noise = torch.randn(batch.shape, generator=generator, device=device)
                        batch = batch.add(noise, alpha=method.config.data_noise)
                    if step == 0:
                        with FlopCounter() as counter:
                            report = method.training_step(batch, generator)
                        flops = counter.total
                    else:
                        report = method.training_step(batch, generator)
                except Diverged as divergence:
                    status, reason = "diverged", str(divergence)
                    if report and (not history or history[-1]["step"] != done):
                        history.append(logged(done, report))
                    break
                done = step + 1
                if done % period == 0 or done == iterations:
                    history.append(logged(done, report))
                    progress.advance({key: value for key, value in history[-1].items() if key not in CLOCK})
                else:
                    progress.advance()
                if asked_to_stop or time.monotonic() - saved_at > CHECKPOINT_PERIOD:
                    save_checkpoint(done)
                    saved_at = time.monotonic()
                    if asked_to_stop:
                        raise Interrupted(128 + asked_to_stop[0])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

    write_json(folder / "config.json", settings)
    write_history(folder / "history.csv", history)
    save_model(folder / "model.safetensors", method.state_dict(), {"method": config.method, "step": str(done)})
    entry = stopwatch.record()
    entry["wall_s"] = round(seconds_before + float(entry["wall_s"]), 3)
    folder.record(
        "train",
        entry,
        TRAINED_FILES,
        status=status,
        reason=reason,
        step=done,
        iterations=iterations,
        config_hash=digest(settings),
        inputs=made_from,
        required=cost_of_required(config, results),
        versions=versions(),
        commit=commit(),
        threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in method.parameters() if p.requires_grad),
        training_flops=flops * done,
        gradient_evaluations=(method.gradient_evaluations_at_start + done * method.gradient_evaluations_per_step) if done else 0,
        temperature=method.temperature,
    )
    remove_checkpoints(folder / "checkpoints")
    return folder
