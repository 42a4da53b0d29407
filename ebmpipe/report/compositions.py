"""Compositions on disk, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ebmpipe.files import CorruptFile, atomic, read_arrays, read_json, read_signed, sha256
from ebmpipe.report.reading import MissingResult
from ebmpipe.runs import composition_folder

COLUMNS = ["composition", "seed", "law", "metric", "value", "stderr", "n", "status", "unit"]
TABLE = "compositions.csv"


@dataclass(frozen=True)
class Composed:
    """One composition of one seed.

    Attributes:
        path: its folder.
        name: of the composition.
        seed: that of the runs it is made of.
    """

    path: Path
    name: str
    seed: int

    @classmethod
    def of(cls, results: Path, name: str, seed: int) -> Composed:
        """The one in a folder of results."""
        return cls(composition_folder(results, name, seed), name, seed)

    @cached_property
    def ledger(self) -> dict[str, Any]:
        """``composition.json``."""
        if not (self.path / "composition.json").is_file():
            raise MissingResult(f"no file {self.path / 'composition.json'}: run `ebmpipe compose` first")
        return read_signed(self.path / "composition.json")

    def verified(self, name: str) -> Path:
        """A file of it, as it was written.

        Raises:
            CorruptFile: if it is not.
        """
        path = self.path / name
        if not path.is_file() or sha256(path) != self.ledger["files"].get(name):
            raise CorruptFile(f"{path} is missing or was altered after it was written: delete {self.path} and run `ebmpipe compose` again")
        return path

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``."""
        return dict(read_json(self.verified("config.json")))

    @property
    def law(self) -> str:
        """The composition as a formula: ``eight_gaussians/pcd × rings/pcd``."""
        (first, second), weight = self.config["of"], self.config["weight"]
        match self.config["by"]:
            case "mixture":
                return f"{1 - weight:g} {first} + {weight:g} {second}"
            case "product":
                return f"{first} × {second}" + ("" if weight == 1 else f"^{weight:g}")
        return f"{first} / {second}" + ("" if weight == 1 else f"^{weight:g}")

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Its numbers."""
        return list(read_json(self.verified("metrics.json"))["rows"])

    def value(self, metric: str) -> float | None:
        """One number, None if there is none."""
        return next((row["value"] for row in self.rows if row["metric"] == metric), None)

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Samples (n, 2) by source; none if it diverged or is no law."""
        return read_arrays(self.verified("samples.safetensors"))[0]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Normalised log densities on one grid; none if it diverged or is no law."""
        with np.load(self.verified("arrays.npz"), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}


def collect(results: Path, compositions: Mapping[str, Sequence[int]]) -> Path:
    """Write ``tables/compositions.csv``, a row per composition, seed and metric; returns its path.

    Args:
        results: folder of everything the workflow made.
        compositions: {name: [seeds]}.

    Raises:
        MissingResult: if one was not made.
    """
    rows: list[dict[str, Any]] = []
    for name, seeds in compositions.items():
        for found in (Composed.of(results, name, seed) for seed in seeds):
            key = {"composition": name, "seed": found.seed, "law": found.law}
            rows += [key | row for row in found.rows]
    path = results / "tables" / TABLE
    with atomic(path) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64"}).to_csv(temporary, index=False, lineterminator="\n")
    return path


def collected(results: Path) -> dict[str, list[Composed]]:
    """The compositions of ``tables/compositions.csv``, by name.

    Raises:
        MissingResult: if there is no such table.
    """
    path = results / "tables" / TABLE
    if not path.is_file():
        raise MissingResult(f"no file {path}: run `ebmpipe collect-compositions` first")
    table = pd.read_csv(path, dtype={"composition": "str"}, keep_default_na=False)
    pairs = table[["composition", "seed"]].drop_duplicates().itertuples(index=False)
    found: dict[str, list[Composed]] = {}
    for name, seed in pairs:
        found.setdefault(str(name), []).append(Composed.of(results, str(name), int(seed)))
    return found
