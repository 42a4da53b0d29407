"""Measured theorems on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ebmpipe.files import CorruptFile, read_signed, sha256
from ebmpipe.report.reading import MissingResult
from ebmpipe.runs import THEOREM_FILES, theorems_folder

AGAIN = "run `ebmpipe theorems`"


@dataclass(frozen=True)
class Proved:
    """One theorem.

    Attributes:
        name: its id.
        title: what the figure calls it.
        panel: where the figure draws it.
        legend: what curves of it are called, by kind.
        numbers: what its curves come to.
        arrays: the curves.
    """

    name: str
    title: str
    panel: str
    legend: Mapping[str, str]
    numbers: Mapping[str, float]
    arrays: Mapping[str, np.ndarray]


def proved(results: Path) -> dict[str, Proved]:
    """Every theorem of a folder of results by id, checked against the checksums that it was written with.

    Raises:
        MissingResult: if none was measured.
        CorruptFile: if a file was altered after it was written, or one of the two is missing.
    """
    folder, (arrays_file, card_file) = theorems_folder(results), THEOREM_FILES
    if not (folder / card_file).is_file():
        raise MissingResult(f"no file {folder / card_file}: {AGAIN} first")
    try:
        card = read_signed(folder / card_file)
    except CorruptFile as error:
        raise CorruptFile(f"{error}; {AGAIN} again") from error
    path = folder / arrays_file
    if not path.is_file() or sha256(path) != card["files"].get(arrays_file):
        raise CorruptFile(f"{path} is missing or was altered after it was written: {AGAIN} again")
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    found = {}
    for name, said in card["theorems"].items():
        own = {key.removeprefix(f"{name}."): values for key, values in arrays.items() if key.startswith(f"{name}.")}
        found[name] = Proved(name, said["title"], said["panel"], dict(said["legend"]), said["numbers"], own)
    return found
