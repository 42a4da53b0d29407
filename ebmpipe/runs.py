"""A run's folder and its ledger, run.json."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebmpipe.config import RunConfig
from ebmpipe.files import read_json, sha256, write_json

#: The stages of a run, in order.
STAGES = ("train", "sample", "evaluate")


class CorruptFile(ValueError):
    """A file's bytes are not those that the stage which wrote it recorded."""


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
        """The results folder it lies in."""
        return self.path.parents[3]

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def ledger(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            FileNotFoundError: saying which stage to run first.
        """
        path = self / "run.json"
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: run `ebmpipe train` for this run first")
        ledger: dict[str, Any] = read_json(path)
        if not isinstance(ledger, dict) or not {"status", "stages", "files"} <= set(ledger):
            raise CorruptFile(f"{path} is no ledger of a run: delete it and run `ebmpipe train` for this run again")
        return ledger

    @property
    def config(self) -> RunConfig:
        """The settings the run was trained with, checked against the ledger."""
        return RunConfig.model_validate(read_json(self.verified("config.json")))

    def record(self, stage: str, entry: dict[str, Any], files: Iterable[str], **top: Any) -> None:
        """Add a stage's entry and the checksums of the files it wrote; ``top`` goes to the ledger's top level.

        What later stages made from files that are now replaced is forgotten, so that nobody takes it for this run's.
        """
        names = list(files)
        ledger: dict[str, Any] = {"stages": {}, "files": {}} if stage == STAGES[0] else self.ledger
        for later in STAGES[STAGES.index(stage) :]:
            for name in ledger["stages"].pop(later, {}).get("files", ()):
                ledger["files"].pop(name, None)
        ledger["stages"][stage] = entry | {"files": names}
        ledger["files"] |= {name: sha256(self / name) for name in names}
        write_json(self / "run.json", ledger | top)

    def verified(self, name: str) -> Path:
        """The path of a file whose bytes are those recorded.

        Raises:
            CorruptFile: if they are not, or were never recorded.
        """
        path = self / name
        recorded = self.ledger.get("files", {}).get(name)
        if recorded is None:
            raise CorruptFile(f"{path} is not in the ledger {self / 'run.json'}: run the stage that writes it")
        if not path.exists():
            raise CorruptFile(f"{path} is missing although the ledger lists it: run the stage that writes it again")
        if sha256(path) != recorded:
            raise CorruptFile(
                f"{path} was altered after it was written (its SHA-256 differs from the ledger's): delete it and run its stage again"
            )
        return path
