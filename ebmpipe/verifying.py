"""Verifying a results folder: every checksum, and repair by making again what can be made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebmpipe.data.prepared import Prepared
from ebmpipe.features.base import check_network, networks_in
from ebmpipe.files import CorruptFile, read_signed, sha256
from ebmpipe.preparing import repair as repair_data
from ebmpipe.report.reading import MissingResult
from ebmpipe.report.theorems import proved
from ebmpipe.runs import STAGES, THEOREM_FILES, RunFolder, onwards, theorems_folder


@dataclass(frozen=True)
class Finding:
    """Something in a results folder that is not as it was written.

    Attributes:
        folder: the prepared data set, the data set's feature networks, the run, the composition or the theorems that it belongs to.
        problem: what is wrong, naming every file; one per line.
        stage: the first stage of a run that is concerned; None for everything else.
        network: the feature network that is concerned; None for everything else.
    """

    folder: Path
    problem: str
    stage: str | None = None
    network: str | None = None


def of_run(folder: RunFolder) -> Iterator[Finding]:
    """What is wrong with one run: its ledger, or the files that the ledger vouches for."""
    try:
        ledger = folder.ledger
    except (CorruptFile, FileNotFoundError) as error:
        # A folder with nothing but a checkpoint is a run in progress.
        if any((folder / name).exists() for name in ("run.json", "model.safetensors")):
            yield Finding(folder.path, str(error), STAGES[0])
        return
    problems: dict[str, list[str]] = {}
    for stage in STAGES:
        for name in ledger["stages"].get(stage, {}).get("files", ()):
            try:
                folder.verified(name)
            except CorruptFile as error:
                problems.setdefault(stage, []).append(str(error))
    told: set[str] = set()
    for stage in [found for found in STAGES if found in problems]:
        # Undoing a stage undoes what was made from it; what was not is a finding of its own.
        if stage not in told:
            lost = [later for later in onwards(stage) if later in problems and later not in told]
            told.update(lost)
            yield Finding(folder.path, "\n".join(line for later in lost for line in problems[later]), stage)


def of_composition(folder: Path) -> Iterator[Finding]:
    """What is wrong with one composition of two runs."""
    ledger = folder / "composition.json"
    try:
        files = read_signed(ledger)["files"] if ledger.is_file() else {}
    except CorruptFile as error:
        yield Finding(folder, str(error))
        return
    for name, recorded in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != recorded:
            yield Finding(folder, f"{folder / name} is missing or was altered after it was written: its SHA-256 is not the ledger's")


def of_theorems(results: Path) -> Iterator[Finding]:
    """What is wrong with the measured theorems."""
    try:
        proved(results)
    except (CorruptFile, MissingResult) as error:
        yield Finding(theorems_folder(results), str(error))


def verify(results: Path) -> Iterator[Path | Finding]:
    """Go through a results folder; yields every folder looked at, and after it what is wrong there.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not results.is_dir():
        raise FileNotFoundError(f"{results} does not exist: nothing was made there yet")
    for folder in sorted((results / "data").glob("*/")):
        yield folder
        if not any(folder.iterdir()):
            continue  # what is not made yet is not damaged
        try:
            Prepared(folder, folder.name)
        except ValueError as error:
            yield Finding(folder, str(error))
    # A flow where annealing begins is kept as feature networks are.
    for folder in sorted([*(results / "features").glob("*/"), *(results / "bases").glob("*/")]):
        yield folder
        for network in networks_in(folder):
            try:
                check_network(folder, network)
            except ValueError as error:
                yield Finding(folder, str(error), network=network)
    for path in sorted((results / "runs").glob("*/*/seed*/")):
        yield path
        yield from of_run(RunFolder(path))
    for path in sorted((results / "compositions").glob("*/seed*/")):
        yield path
        yield from of_composition(path)
    if any(theorems_folder(results).glob("*")):
        yield theorems_folder(results)
        yield from of_theorems(results)


def repair(finding: Finding, results: Path, raw: Path | None = None) -> str:
    """Mend what was found; returns what was done, in words.

    Data are prepared again on the spot. What a run or a feature network lost is removed together with all that was made from it, so that
    the next run of the workflow (or of the stage) makes it again: to the same bytes, from the run's own seed.

    Raises:
        ValueError: if data cannot be prepared again; or any `OSError`. Nothing else was changed then.
    """
    if finding.folder.parent.name == "data":
        repair_data(finding.folder.name, finding.folder, raw)
        return "prepared again"
    if finding.folder == theorems_folder(results):
        for name in THEOREM_FILES:
            (finding.folder / name).unlink(missing_ok=True)
        return "removed the measured theorems: run the workflow again"
    if finding.folder.parents[1].name == "compositions":
        for path in (results / "tables/compositions.csv", *finding.folder.iterdir()):
            path.unlink(missing_ok=True)
        return "removed what the composition's folder held: run the workflow again"
    (results / "tables/metrics.csv").unlink(missing_ok=True)
    if finding.stage is not None:
        return f"removed {', '.join(undone(RunFolder(finding.folder), finding.stage))}: run the workflow again"
    for path in finding.folder.glob(f"{finding.network}.*"):
        path.unlink()
    # Every run on these data was measured with this network.
    for path in (results / "runs" / finding.folder.name).glob("*/seed*/metrics.json"):
        undone(RunFolder(path.parent), "evaluate")
    return "removed it and the metrics.json and arrays.npz that were made with it: run the workflow again"


def undone(folder: RunFolder, stage: str) -> list[str]:
    """Undo a stage of a run and those after it, alone in its folder; all of them if the ledger, which knows the others, is lost."""
    with folder.locked():
        try:
            return folder.undo(stage)
        except (CorruptFile, FileNotFoundError):
            return folder.undo(STAGES[0])
