"""The train stage: one linear loop for every method."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebmpipe.batches import Batches
from ebmpipe.checkpoint import Checkpoint, checkpoint_key, latest, remove_checkpoints, save_model
from ebmpipe.config import RunConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import CorruptFile, digest, sha256, write_json
from ebmpipe.flops import FlopCounter
from ebmpipe.history import Row, diagnostics, row, write_history
from ebmpipe.interruption import Interrupted, Overdue, StopSignals
from ebmpipe.loading import make_run, required_folders, resolve
from ebmpipe.methods.base import Method
from ebmpipe.optimisation import Diverged
from ebmpipe.progress import Progress
from ebmpipe.provenance import Stopwatch, choose_device, commit, device_name, versions
from ebmpipe.runs import FILES, RunFolder
from ebmpipe.seeding import torch_generator

#: Rows of the history, about.
LOGGED = 200
#: Seconds between checkpoints.
CHECKPOINT_PERIOD = 30.0
#: Seconds from which on an update may not end in time when asked to stop: the state before it is kept at hand.
SLOW = 1.0


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


def make(config: RunConfig, data: Prepared, results: Path, device: str) -> tuple[Method, int]:
    """The method of a run and its number of updates. The schedule's length needs the cost, so it is built twice."""
    iterations = iterations_within(make_run(config, data, results, device), config.gradient_evaluations)
    return make_run(config, data, results, device, iterations), iterations


def inputs(config: RunConfig, data: Prepared, results: Path) -> dict[str, str]:
    """Checksums of all that a run is made from: its data and the models it builds on."""
    required = required_folders(config, results)
    return {"data": data.card["data_sha256"]} | {role: sha256(f / "model.safetensors") for role, f in required.items()}


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
    folder.record("train", stopwatch.record(), "diverged", reason, **nothing, **top)
    return folder


def already_trained(folder: RunFolder, settings: dict[str, Any], made_from: dict[str, str]) -> bool:
    """Whether the folder holds this very run, whole: the same settings, revisions and inputs, every file as it was written."""
    try:
        ledger = folder.ledger
        if (ledger["config_hash"], ledger["inputs"]) != (digest(settings), made_from):
            return False
        for name in FILES["train"]:
            folder.verified(name)
    except FileNotFoundError:
        return False
    except CorruptFile as error:
        print(f"{error}\ntraining {folder.path} again", file=sys.stderr)
        return False
    return True


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a number that is none."""
    return [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]


def train(
    config: RunConfig, data_folder: Path, results: Path, device: str = "auto", checkpoint_period: float = CHECKPOINT_PERIOD
) -> RunFolder:
    """Train one run, or go on with it where a checkpoint of the same settings, revisions and data exists.

    Writes config.json, model.safetensors, history.csv and run.json into the run's folder. A run that diverges is
    finished with status ``diverged``, its step and reason; its model is the last good one. A run that is there already is left as it is.

    Args:
        config: the run.
        data_folder: the prepared data set.
        results: the results folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        checkpoint_period: seconds between checkpoints.

    Raises:
        Interrupted: on SIGTERM or SIGINT, after a checkpoint.
        Unwritable: if the disk is full or the folder cannot be written.
    """
    device, config = choose_device(device), resolve(config)
    folder = RunFolder.of(results, config.dataset, config.label, config.seed)
    with folder.locked():
        return train_alone(folder, config, data_folder, device, checkpoint_period)


def train_alone(folder: RunFolder, config: RunConfig, data_folder: Path, device: str, checkpoint_period: float) -> RunFolder:
    """`train` in a folder that no other process works in; ``config`` is resolved."""
    data, results = Prepared(data_folder, config.dataset), folder.results
    for other in required_folders(config, results).values():
        if lost := other.training_divergence:
            return give_up(folder, config, f"it builds on {other.path}, which diverged: {lost}", device)
    settings, made_from = config.model_dump(mode="json"), inputs(config, data, results)
    if already_trained(folder, settings, made_from):
        print(f"{folder.path} is trained already; delete it to train it anew", file=sys.stderr)
        return folder
    method, iterations = make(config, data, results, device)
    batches = Batches(data, method.config.batch_size, config.seed, device) if iterations else None
    generator = torch_generator(config.seed, "noise", device=device)

    machine = {"device": device_name(device), "threads": str(torch.get_num_threads()), "torch": torch.__version__}
    checkpoint_path = folder / f"checkpoints/{checkpoint_key(settings, made_from, machine)}.safetensors"
    history: list[Row] = []
    last_row: Row | None = None
    first, flops, seconds_before = 0, 0, 0.0
    checkpoint = latest(checkpoint_path)
    if checkpoint is not None:
        method.load_state_dict(checkpoint.model)
        generator.set_state(checkpoint.generator)
        history, first, last_row = checkpoint.history, checkpoint.step, checkpoint.extra["last_row"]
        flops, seconds_before = checkpoint.extra["flops_per_step"], checkpoint.extra["wall_s"]
        print(f"resuming {folder.path} at step {first} of {iterations}", file=sys.stderr)

    stopwatch = Stopwatch(device)
    begun = time.perf_counter()
    report: dict[str, Any] = {}

    def seconds() -> float:
        return seconds_before + time.perf_counter() - begun

    def row_of(step: int) -> Row | None:
        cost = method.gradient_evaluations_at_start + step * method.gradient_evaluations_per_step
        return row(step, cost, seconds(), report) if report else last_row

    def state_at(step: int) -> Checkpoint:
        extra = {"flops_per_step": flops, "wall_s": seconds(), "last_row": row_of(step)}
        return Checkpoint.of(step, method.state_dict(), generator.get_state(), history, extra)

    status, reason, done, saved_at = "finished", None, first, time.monotonic()
    period, kept, slow = max(1, iterations // LOGGED), None, False
    title = f"{config.dataset}/{config.label}/seed{config.seed}"
    with Progress(title, iterations, first) as progress, StopSignals() as signals:
        try:
            for step in range(first, iterations):
                assert batches is not None
                kept = state_at(step) if slow else None
                update_begun = time.monotonic()
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
                    final = row_of(done)
                    if final and (not history or history[-1]["step"] != done):
                        history.append(final)
                    break
                done, slow = step + 1, time.monotonic() - update_begun > SLOW
                if done % period == 0 or done == iterations:
                    logged = row_of(done)
                    assert logged is not None
                    history.append(logged)
                    progress.advance(diagnostics(logged))
                else:
                    progress.advance()
                if signals.asked or done == iterations or time.monotonic() - saved_at > checkpoint_period:
                    signals.heard()
                    state_at(done).save(checkpoint_path)
                    saved_at = time.monotonic()
                    if signals.asked and done < iterations:
                        raise stopped(folder, done, iterations, signals.asked)
        except Overdue:
            if kept is not None:
                kept.save(checkpoint_path)
            raise stopped(folder, kept.step if kept else None, iterations, signals.asked or 0) from None

    state = method.state_dict()
    if status == "finished" and (lost_tensors := not_finite(state)):
        status, reason = "diverged", f"{lost_tensors[0]} is not finite after the last update"
    write_json(folder / "config.json", settings)
    write_history(folder / "history.csv", history)
    save_model(folder / "model.safetensors", state, {"method": config.method, "step": str(done)})
    entry = stopwatch.record()
    entry["wall_s"] = round(seconds_before + float(entry["wall_s"]), 3)
    folder.record(
        "train",
        entry,
        status,
        reason,
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
    # The last checkpoint stays until the run has been sampled: should the workflow not have noted that this job was done, and call it
    # again with the outputs removed, nothing is trained twice.
    remove_checkpoints(folder / "checkpoints", keep=checkpoint_path)
    return folder


def stopped(folder: RunFolder, step: int | None, iterations: int, number: int) -> Interrupted:
    """The exit of a run that a signal ended."""
    where = f"at step {step} of {iterations}" if step is not None else "inside an update; the last checkpoint stays"
    print(f"stopped {folder.path} {where}; the same command goes on from there", file=sys.stderr)
    return Interrupted(128 + number)
