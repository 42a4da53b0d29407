"""A run's folder and its ledger, run.json."""

from __future__ import annotations

import fcntl
import math
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ebmpipe.config import RunConfig
from ebmpipe.files import REMEDY, CorruptFile, Unwritable, read_json, read_signed, sha256, sweep, write_signed

#: The stages of a run, in order, and the files that each writes beside run.json.
FILES = {
    "train": ("config.json", "history.csv", "model.safetensors"),
    "sample": ("samples.safetensors",),
    "long_run": ("long_run.safetensors",),
    "evaluate": ("metrics.json", "arrays.npz"),
}
STAGES = tuple(FILES)
#: The stages whose files each stage is made from; samples and long runs know nothing of each other.
MADE_FROM = {"train": (), "sample": ("train",), "long_run": ("train",), "evaluate": ("train", "sample", "long_run")}
#: What the folder of measured theorems holds: curves, and the card that vouches for them.
THEOREM_FILES = ("theorems.npz", "theorems.json")
#: Seconds between two lines of a process that waits for another one.
PATIENCE = 60.0


def composition_folder(results: Path, name: str, seed: int) -> Path:
    """Where a composition of two runs of one seed lies."""
    return results / "compositions" / name / f"seed{seed}"


def theorems_folder(results: Path) -> Path:
    """Where measured theorems lie."""
    return results / "theorems"


@dataclass(frozen=True)
class RunFolder:
    """``results/runs/{dataset}/{label}/seed{seed}/``."""

    path: Path

    @classmethod
    def of(cls, results: Path, dataset: str, label: str, seed: int) -> RunFolder:
        """The folder of one run under ``results``."""
        return cls(results / "runs" / dataset / label / f"seed{seed}")

    @property
    def results(self) -> Path:
        """The results folder it lies in; the topmost folder above it, if it lies elsewhere."""
        return [self.path, *self.path.parents][:5][-1]

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def locked(self, stage: str = "", make: bool = False) -> Iterator[None]:
        """Work in the folder alone: wait, saying for whom, until no other process does; then clear away what a killed one half wrote.

        The lock is the kernel's and ends with its process, however that ends.

        Args:
            stage: a stage that others may work beside; its lock keeps out its like alone, and clears nothing away. It writes into a folder
                of its own, and takes the lock of all to record what it did.
            make: make the folder, if there is none.

        Raises:
            FileNotFoundError: if there is no such folder, saying which stage to run first.
            Unwritable: if it cannot be written.
        """
        if not make and not self.path.is_dir():
            _ = self.ledger
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self / f".lock{stage and f'-{stage}'}").open("a+")
        except OSError as error:
            raise Unwritable(f"{self.path} cannot be written ({error.strerror or error}); name another folder with --results") from error
        with file:
            wait_for_lock(file, self.path)
            if not stage:
                sweep(self.path)
            yield

    @property
    def ledger(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            FileNotFoundError: saying which stage to run first.
            CorruptFile: if it is damaged or was edited.
        """
        path = self / "run.json"
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: run `ebmpipe train` for this run first")
        try:
            return read_signed(path)
        except CorruptFile as error:
            raise CorruptFile(f"{error}; {REMEDY}") from None

    @property
    def training_divergence(self) -> str | None:
        """Why training broke down; None if it did not, whatever became of the samples."""
        train = self.ledger["stages"]["train"]
        return str(train["reason"]) if train["status"] == "diverged" else None

    @property
    def config(self) -> RunConfig:
        """The settings the run was trained with, checked against the ledger."""
        return RunConfig.model_validate(read_json(self.verified("config.json")))

    def record(self, stage: str, entry: dict[str, Any], status: str = "finished", reason: str | None = None, **top: Any) -> None:
        """Add a stage's entry and the checksums of the files it wrote (`FILES`); ``top`` goes to the ledger's top level.

        What later stages made from files that are now replaced is forgotten, so that nobody takes it for this run's. The run has
        diverged if one of its stages has.

        Args:
            stage: one of `STAGES`.
            entry: what it has to say: seconds, memory, cost.
            status: ``finished`` or ``diverged``.
            reason: why it diverged.
        """
        ledger: dict[str, Any] = {"stages": {}, "files": {}} if stage == STAGES[0] else self.ledger
        forget(ledger, stage)
        ledger["stages"][stage] = entry | {"files": list(FILES[stage]), "status": status, "reason": reason}
        ledger["files"] |= {name: sha256(self / name) for name in FILES[stage]}
        write_signed(self / "run.json", ledger | top | outcome(ledger))

    def undo(self, stage: str) -> list[str]:
        """Remove what a stage and those made from it wrote, and their entries in the ledger; returns the names of the files."""
        ledger = None if stage == STAGES[0] else self.ledger
        removed = [name for later in onwards(stage) for name in FILES[later] if (self / name).exists()]
        if ledger is None:
            (self / "run.json").unlink(missing_ok=True)
        else:
            forget(ledger, stage)
            write_signed(self / "run.json", ledger | outcome(ledger))
        for name in removed:
            (self / name).unlink()
        return [*(["run.json"] if ledger is None else []), *removed]

    def command(self, name: str) -> str:
        """The command that writes one of its `FILES`, in words."""
        stage = next((stage for stage, files in FILES.items() if name in files), STAGES[0])
        dataset, label, seed = self.path.parts[-3:] if len(self.path.parts) > 2 else ("", "", "")
        method = " --method …" if stage == "train" else ""
        known = f" --dataset {dataset} --label {label} --seed {seed[4:]}{method}" if re.fullmatch(r"seed\d+", seed) else ""
        return f"`ebmpipe {stage.replace('_', '-')}{known}`"

    def verified(self, name: str) -> Path:
        """The path of a file whose bytes are those recorded.

        Raises:
            CorruptFile: if they are not, or were never recorded.
        """
        path = self / name
        recorded = self.ledger["files"].get(name)
        if recorded is None:
            raise CorruptFile(f"{path} is not in the ledger {self / 'run.json'}: run {self.command(name)}, which writes it")
        if not path.exists():
            raise CorruptFile(f"{path} is missing although the ledger lists it: run {self.command(name)} again, which writes it")
        if sha256(path) != recorded:
            raise CorruptFile(f"{path} was altered after it was written: its SHA-256 is not the ledger's; {REMEDY}")
        return path


def onwards(stage: str) -> list[str]:
    """A stage and all that are made from it, however indirectly, in order."""
    found = [stage]
    for later in STAGES:
        if set(MADE_FROM[later]) & set(found):
            found.append(later)
    return found


def forget(ledger: dict[str, Any], stage: str) -> None:
    """Drop the entries of a stage and of those made from it, and the checksums of their files."""
    for later in onwards(stage):
        for name in ledger["stages"].pop(later, {}).get("files", ()):
            ledger["files"].pop(name, None)


def outcome(ledger: dict[str, Any]) -> dict[str, Any]:
    """Status and reason of a run: it has diverged if one of its stages has."""
    lost = [ledger["stages"][stage] for stage in STAGES if ledger["stages"].get(stage, {}).get("status") == "diverged"]
    return {"status": "diverged" if lost else "finished", "reason": lost[0]["reason"] if lost else None}


def wait_for_lock(file: IO[str], folder: Path) -> None:
    """Take the lock of an open file, which says who has it; wait, saying so now and then, while another process does."""
    spoken = -math.inf
    try:
        while not acquired(file.fileno()):
            if time.monotonic() - spoken >= PATIENCE:
                file.seek(0)
                print(f"{folder} is in the hands of {file.read().strip() or 'another process'}: waiting for it", file=sys.stderr)
                spoken = time.monotonic()
            time.sleep(0.2)
    except OSError as error:
        # Some network file systems have no locks.
        print(f"{folder} cannot be locked here ({error.strerror}): do not run two jobs on it at once", file=sys.stderr)
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)


def acquired(descriptor: int) -> bool:
    """Take an open file's lock if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
