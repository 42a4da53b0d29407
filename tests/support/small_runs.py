"""Small runs, trained in no time; here and in processes that may be killed."""

from __future__ import annotations

import csv
import multiprocessing
import os
import resource
from pathlib import Path

from ebmpipe.config import EvaluationConfig, RunConfig, SamplingConfig
from ebmpipe.runs import RunFolder

#: PCD with few short chains: an update costs 16 (2 + 2) gradient evaluations.
PCD = {"batch_size": 16, "chains": 32, "steps": 2, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}}

#: Kernels whose steps cost a random number of gradients, and coupled chains, whose length is random.
DICE = {"kernel": {"name": "random_kernel:Dice", "settings": {"step_size": 0.2}}}
NUTS = {"kernel": {"name": "nuts", "settings": {"step_size": 0.3, "max_depth": 3}}}
COUPLED = {"batch_size": 16, "steps": 2, "lag": 2, "max_steps": 10}

#: Annealing with few chains and levels, for tests that are about something else.
QUICK = {"repeats": 4, "chains": 8, "pilot_chains": 32, "variance": 1.0, "fewest_levels": 5, "most_levels": 20, "warm_up": 2}


#: Restoring by few short chains, likewise.
FEW = {"n": 8, "noise": 0.6, "chains": 2, "candidates": 2, "adaptation_steps": 3, "steps": 4, "draws": 2}


def small(dataset="eight_gaussians", method="pcd", updates=60, **changes):
    """A run of so many updates of PCD, or twice as many of a method that costs two gradient evaluations per example."""
    given = {"dataset": dataset, "label": method.rpartition(":")[2].lower(), "method": method, "gradient_evaluations": 64 * updates}
    given |= {"settings": PCD if method == "pcd" else {"batch_size": 16}, "network": {"settings": {"width": 8}}}
    return RunConfig.model_validate(given | changes)


class Priced:
    """As much of a method as a budget asks for."""

    name, trains = "priced", True

    def __init__(self, per_update, at_start=0, random_cost=False):
        self.gradient_evaluations_per_step, self.gradient_evaluations_at_start, self.random_cost = per_update, at_start, random_cost


def rows_of(folder):
    """history.csv as numbers."""
    return [{key: float(value) for key, value in row.items()} for row in csv.DictReader((folder / "history.csv").open())]


def model_bytes(folder):
    return (folder / "model.safetensors").read_bytes()


def rows_without_seconds(folder):
    """history.csv without the column of the clock."""
    return [line.split(",")[:2] + line.split(",")[3:] for line in (folder / "history.csv").read_text().splitlines()]


def sample_and_evaluate(folder, data_folder):
    """The bytes of samples and metrics of a run."""
    from ebmpipe.evaluation import evaluate
    from ebmpipe.sampling import sample

    sample(folder, data_folder, SamplingConfig(n=40, steps=5), "cpu")
    evaluate(folder, data_folder, EvaluationConfig(metrics=["mmd", "sliced_wasserstein"], grid=20), device="cpu")
    return [(folder / name).read_bytes() for name in ("samples.safetensors", "metrics.json", "arrays.npz")]


def train_here(configuration, data_folder, results, period, log, file_size):
    """What a child process does: train, with its standard error in a file, and files no larger than ``file_size`` if given."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    from ebmpipe.training import train

    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    try:
        train(configuration, data_folder, results, "cpu", period)
    finally:
        # What it has to say goes to a file too.
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Trainer:
    """Trains in processes of its own, which start in no time because a server has imported the package for them."""

    def __init__(self, data_folder: Path, results: Path, log: Path) -> None:
        self.data_folder, self.results, self.log = data_folder, results, log
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["ebmpipe.training"])

    def start(self, configuration, period=30.0, file_size=None):
        """The running process."""
        process = self.context.Process(
            target=train_here, args=(configuration, self.data_folder, self.results, period, str(self.log), file_size), daemon=True
        )
        process.start()
        return process

    def folder(self, configuration) -> RunFolder:
        """Where it trains."""
        return RunFolder.of(self.results, configuration.dataset, configuration.label, configuration.seed)

    def said(self) -> str:
        """What the processes wrote to standard error so far."""
        return self.log.read_text() if self.log.exists() else ""
