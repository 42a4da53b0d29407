"""The train stage: one linear loop for every method."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebmpipe.batches import Batches, update
from ebmpipe.budget import Budget
from ebmpipe.checkpoint import Checkpoint, checkpoint_key, latest, remove_checkpoints, save_model
from ebmpipe.config import RunConfig
from ebmpipe.data.finding import find
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import CorruptFile, digest, sha256, write_json
from ebmpipe.flops import FlopCounter
from ebmpipe.history import Row, clipped_fraction, diagnostics, row, write_history
from ebmpipe.interruption import Interrupted, Overdue, StopSignals
from ebmpipe.loading import make_run, required_folders, resolve
from ebmpipe.methods.base import Method
from ebmpipe.optimisation import Diverged, Learner
from ebmpipe.pricing import updates_for
from ebmpipe.progress import Progress
from ebmpipe.provenance import Stopwatch, choose_device, commit, device_name, versions
from ebmpipe.runs import FILES, RunFolder
from ebmpipe.seeding import torch_generator
from ebmpipe.watching import Watch, check_watchable

#: Seconds between checkpoints.
CHECKPOINT_PERIOD = 30.0
#: Seconds from which on an update may not end in time when asked to stop: the state before it is kept at hand.
SLOW = 1.0


def make(config: RunConfig, data: Prepared, results: Path, device: str) -> tuple[Method, Budget]:
    """The method of a run and its budget. The schedule's length needs the cost, so the method is built twice."""
    if config.watch:
        check_watchable(data.spec)
    first, updates = make_run(config, data, results, device), config.updates
    if config.training_flops is not None:
        updates = updates_for(first, data.spec, config.training_flops)
    budget = Budget(first, config.gradient_evaluations, updates)
    return make_run(config, data, results, device, budget.iterations), budget


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
    top = {"config_hash": digest(settings), "versions": versions(), "commit": commit(), "required": {}, "inputs": {}}
    top |= dict.fromkeys(("temperature", "clipped"))
    folder.record("train", stopwatch.record(), "diverged", reason, statistics={}, **nothing, **top)
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
        ValueError: if the method cannot be made or does not take these data; of a new run no folder is made then.
        Unwritable: if the disk is full or the folder cannot be written.
    """
    device, config = choose_device(device), resolve(config, find(config.dataset, data_folder))
    folder = RunFolder.of(results, config.dataset, config.label, config.seed)
    if not folder.path.exists():
        check_trainable(config, Prepared(data_folder, config.dataset), results, device)
    with folder.locked(make=True):
        return train_alone(folder, config, data_folder, device, checkpoint_period)


def check_trainable(config: RunConfig, data: Prepared, results: Path, device: str) -> None:
    """That a run can be made, before there is a folder of it: what is refused leaves nothing behind.

    Raises:
        ValueError: if it cannot be.
    """
    if not any(other.training_divergence for other in required_folders(config, results).values()):
        make(config, data, results, device)


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
    method, budget = make(config, data, results, device)
    learners = [module for module in method.modules() if isinstance(module, Learner)]
    batches = Batches(data, method.config.batch_size, config.seed, device, method.classifies) if budget.size else None
    generator = torch_generator(config.seed, "noise", device=device)

    machine = {"device": device_name(device), "threads": str(torch.get_num_threads()), "torch": torch.__version__}
    checkpoint_path = folder / f"checkpoints/{checkpoint_key(settings, made_from, machine)}.safetensors"
    history: list[Row] = []
    last_row: Row | None = None
    # Operations of the updates on which they were counted, and the gradient evaluations of these updates.
    flops, flops_cost, count_flops, seconds_before = 0, 0, True, 0.0
    checkpoint = latest(checkpoint_path)
    if checkpoint is not None:
        method.load_state_dict(checkpoint.model)
        generator.set_state(checkpoint.generator)
        history, last_row = checkpoint.history, checkpoint.extra["last_row"]
        budget.resume(checkpoint.step, checkpoint.extra["spent"])
        flops, flops_cost, count_flops = (checkpoint.extra[key] for key in ("flops", "flops_cost", "count_flops"))
        seconds_before = checkpoint.extra["wall_s"]
        print(f"resuming {folder.path} at {budget.progress(budget.updates, budget.spent)}", file=sys.stderr)

    stopwatch = Stopwatch(device)
    begun = time.perf_counter()
    report: dict[str, Any] = {}
    watch = Watch(method, data, device) if config.watch else None

    def aside() -> float:
        """Seconds of this process that are not of training."""
        return watch.seconds if watch else 0.0

    def seconds() -> float:
        return seconds_before + time.perf_counter() - begun - aside()

    def looked() -> dict[str, float]:
        return watch.look() if watch else {}

    def latest_row() -> Row | None:
        return row(budget.updates, budget.spent, seconds(), report) if report else last_row

    def state() -> Checkpoint:
        counted = {"spent": budget.spent, "flops": flops, "flops_cost": flops_cost, "count_flops": count_flops}
        extra = counted | {"wall_s": seconds(), "last_row": latest_row()}
        return Checkpoint.of(budget.updates, method.state_dict(), generator.get_state(), history, extra)

    status, reason, saved_at = "finished", None, time.monotonic()
    kept, slow = None, False
    title = f"{config.dataset}/{config.label}/seed{config.seed}"
    with Progress(title, budget.size, budget.position, budget.unit) as progress, StopSignals() as signals:
        try:
            while not budget.exhausted:
                assert batches is not None
                kept = state() if slow else None
                update_begun = time.monotonic()
                for learner in learners:
                    learner.fraction = budget.fraction
                try:
                    batch = batches.at(budget.updates, generator)
                    batch = method.smoothed(batch, method.config.data_noise, generator)
                    with FlopCounter() if count_flops else nullcontext() as counter:
                        report = update(method, batches, batch, budget.updates, generator)
                except Diverged as divergence:
                    status, reason = "diverged", str(divergence)
                    final = latest_row()
                    if final and (not history or history[-1]["step"] != budget.updates):
                        history.append(final | looked())
                    break
                spent, position = budget.spent, budget.position
                due, slow = budget.pay(report), time.monotonic() - update_begun > SLOW
                if counter is not None:
                    flops, flops_cost = flops + counter.total, flops_cost + budget.spent - spent
                # Updates of random cost are not all alike: one is counted for every row of the history.
                count_flops = due and method.random_cost
                logged = latest_row() if due else None
                if logged is not None:
                    logged |= looked()
                    history.append(logged)
                progress.advance(diagnostics(logged) if logged else None, budget.position - position)
                if signals.asked or budget.exhausted or time.monotonic() - saved_at > checkpoint_period:
                    signals.heard()
                    state().save(checkpoint_path)
                    saved_at = time.monotonic()
                    if signals.asked and not budget.exhausted:
                        raise stopped(folder, budget.progress(budget.updates, budget.spent), signals.asked)
        except Overdue:
            if kept is not None:
                kept.save(checkpoint_path)
            where = budget.progress(kept.step, kept.extra["spent"]) if kept else None
            raise stopped(folder, where, signals.asked or 0) from None

    trained = method.state_dict()
    if status == "finished" and (lost_tensors := not_finite(trained)):
        status, reason = "diverged", f"{lost_tensors[0]} is not finite after the last update"
    write_json(folder / "config.json", settings)
    write_history(folder / "history.csv", history)
    save_model(folder / "model.safetensors", trained, {"method": config.method, "step": str(budget.updates)})
    entry = stopwatch.record()
    entry["wall_s"] = round(seconds_before + float(entry["wall_s"]) - aside(), 3)
    folder.record(
        "train",
        entry,
        status,
        reason,
        step=budget.updates,
        iterations=budget.iterations,
        config_hash=digest(settings),
        inputs=made_from,
        required=cost_of_required(config, results),
        versions=versions(),
        commit=commit(),
        threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in method.parameters() if p.requires_grad),
        training_flops=flops * (budget.spent - budget.at_start) // max(1, flops_cost),
        gradient_evaluations=budget.spent if budget.updates else 0,
        temperature=method.temperature,
        statistics=method.statistics(),
        clipped=clipped_fraction(history),
    )
    # The last checkpoint stays until the run has been sampled: should the workflow not have noted that this job was done, and call it
    # again with the outputs removed, nothing is trained twice.
    remove_checkpoints(folder / "checkpoints", keep=checkpoint_path)
    return folder


def stopped(folder: RunFolder, where: str | None, number: int) -> Interrupted:
    """The exit of a run that a signal ended, at ``where``; None: inside an update."""
    where = f"at {where}" if where else "inside an update; the last checkpoint stays"
    print(f"stopped {folder.path} {where}; the same command goes on from there", file=sys.stderr)
    return Interrupted(128 + number)
