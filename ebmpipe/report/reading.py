"""A run's folder, read lazily and checked: what tables and figures know about one training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ebmpipe.files import read_arrays, read_json
from ebmpipe.mixing.record import FILE, LongRun
from ebmpipe.runs import STAGES, RunFolder

#: Methods that are no methods: they give the tables their scale and compete with nobody.
CONTROLS = ("data", "noise")

#: What each stage of a run does, in words.
DOINGS = dict(zip(STAGES, ("training", "sampling", "the long run", "evaluation"), strict=True))

#: {dataset: {label: [seeds]}}: the runs of one workflow, or of a part of it.
Runs = Mapping[str, Mapping[str, Sequence[int]]]


def check_runs(runs: object) -> None:
    """Raise ValueError, with the place, unless ``runs`` is {dataset: {label: [seeds]}}."""

    def expect(right: bool, place: str, what: str, found: object) -> None:
        if not right:
            raise ValueError(f"{place} must be {what}, as in {{dataset: {{label: [seeds]}}}}, not {found!r}")

    expect(isinstance(runs, Mapping), "runs", "a mapping", runs)
    for dataset, labels in cast("Mapping[object, object]", runs).items():
        expect(isinstance(labels, Mapping), f"runs[{dataset!r}]", "a mapping of labels to seeds", labels)
        for label, seeds in cast("Mapping[object, object]", labels).items():
            place = f"runs[{dataset!r}][{label!r}]"
            expect(isinstance(seeds, Sequence) and not isinstance(seeds, str), place, "a list of seeds", seeds)
            for seed in cast("Sequence[object]", seeds):
                expect(isinstance(seed, int) and not isinstance(seed, bool), place, "a list of whole numbers", seeds)


def source_beside(source: str) -> str:
    """The source that tables and figures show beside the declared one: the methods' own samplers, or long chains if those are declared."""
    return "fresh" if source == "own" else "own"


class MissingResult(FileNotFoundError):
    """Raised when a file that a run should have written is not there; the message says which stage writes it."""


def folder_of(results: Path, dataset: str, label: str, seed: int) -> Path:
    """Where a run lies."""
    return results / "runs" / dataset / label / f"seed{seed}"


@dataclass(frozen=True)
class Run:
    """One run on disk: (dataset, label, seed).

    Attributes:
        path: the run's folder.
        dataset: id of the data set.
        label: name of the row.
        seed: root seed.
    """

    path: Path
    dataset: str
    label: str
    seed: int

    @cached_property
    def folder(self) -> RunFolder:
        """Its folder, whose ledger vouches for every file read here."""
        if not self.path.is_dir():
            raise MissingResult(f"no run folder {self.path}: run `ebmpipe train` first")
        return RunFolder(self.path)

    def _json(self, name: str, stage: str, keys: Sequence[str]) -> dict[str, Any]:
        for needed in ("run.json", name):
            if not (self.folder / needed).is_file():
                raise MissingResult(f"no file {self.path / needed}: run `ebmpipe {stage}` on this run first")
        value = read_json(self.folder.verified(name))
        missing = [key for key in keys if not isinstance(value, dict) or key not in value]
        if missing:
            raise ValueError(f"{self.path / name} lacks {', '.join(missing)}; delete it and run `ebmpipe {stage}` again")
        return dict(value)

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``, checked to be this run's."""
        config = self._json("config.json", "train", ("dataset", "label", "method", "seed"))
        found = (config["dataset"], config["label"], config["seed"])
        if found != (self.dataset, self.label, self.seed):
            raise ValueError(f"{self.path}/config.json is of run {'/'.join(map(str, found))}: the folder was moved or mixed up")
        return config

    @cached_property
    def ledger(self) -> dict[str, Any]:
        """``run.json``."""
        return self.folder.ledger

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.json``. A value is a finite number exactly where the status is ``ok``."""
        rows: list[dict[str, Any]] = self._json("metrics.json", "evaluate", ("status", "rows"))["rows"]
        for row in rows:
            value = row.get("value")
            if (row.get("status") == "ok") != (isinstance(value, int | float) and bool(np.isfinite(value))):
                raise ValueError(f"{self.path}/metrics.json: {row.get('metric')} has value {value} but status {row.get('status')!r}")
        return rows

    @property
    def control(self) -> bool:
        """Whether the row is a control: held-out data or noise in place of samples."""
        return self.config["method"] in CONTROLS

    @property
    def diverged(self) -> bool:
        """Whether any of its stages diverged: training, sampling or evaluation. Such a run has no result."""
        return bool(self.ledger["status"] == "diverged")

    @property
    def diverged_stage(self) -> str | None:
        """The first stage that diverged, None if none did."""
        stages = self.ledger["stages"]
        return next((stage for stage in STAGES if stages.get(stage, {}).get("status") == "diverged"), None)

    @property
    def training_diverged(self) -> bool:
        """Whether training itself diverged, rather than what was done with a soundly trained model."""
        return self.diverged_stage == "train"

    @property
    def reason(self) -> str:
        """When and why the run diverged: ``at step 12 (loss is not finite)``, or ``in sampling: 3 of 200 samples are not finite``.

        Empty if it did not.
        """
        stage = self.diverged_stage
        if stage is None:
            return ""
        reason = str(self.ledger["stages"][stage]["reason"])
        if stage == "train":
            return f"at step {self.ledger['step']:,} ({reason})"
        return f"in {DOINGS[stage]}: {reason.removeprefix(f'{DOINGS[stage]}: ')}"

    def value(self, metric: str) -> float | None:
        """One measured number, None if the run has none."""
        found = [row["value"] for row in self.rows if row["metric"] == metric]
        return found[0] if found else None

    @cached_property
    def history(self) -> pd.DataFrame:
        """``history.csv``; without rows for a run that was not trained."""
        return pd.read_csv(self.folder.verified("history.csv"))

    @cached_property
    def sources(self) -> dict[str, np.ndarray]:
        """The samples (n, *event) in model space by source; none of a diverged run."""
        return read_arrays(self.folder.verified("samples.safetensors"))[0]

    @property
    def source(self) -> str:
        """The source that bare metric ids are about: the one declared for its data set."""
        return str(self.ledger["stages"].get("evaluate", {}).get("source", "fresh"))

    @property
    def samples(self) -> np.ndarray | None:
        """The samples (n, *event) that bare metric ids are about; None if there are none, as of a diverged run."""
        return self.sources.get(self.source)

    @property
    def beside(self) -> np.ndarray | None:
        """The samples (n, *event) that stand beside those, see `source_beside`; None if there are none."""
        return self.sources.get(source_beside(self.source))

    def made(self, source: str) -> str | None:
        """How a source came about, in words."""
        words = self.ledger["stages"].get("sample", {}).get("sources", {}).get(source)
        return None if words is None else str(words)

    @cached_property
    def long_run(self) -> LongRun | None:
        """The record of its long run; None if none was made."""
        return LongRun.read(self.folder.verified(FILE)) if FILE in self.ledger["files"] else None

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """``arrays.npz``: grids and energies; empty of a diverged run."""
        with np.load(self.folder.verified("arrays.npz"), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}


def runs_of(results: Path, dataset: str, labels: Mapping[str, Sequence[int]]) -> dict[str, list[Run]]:
    """The runs of one data set by label."""
    return {
        label: [Run(folder_of(results, dataset, label, seed), dataset, label, seed) for seed in seeds] for label, seeds in labels.items()
    }
