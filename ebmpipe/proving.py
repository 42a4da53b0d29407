"""The theorems stage: identities between the methods' losses, measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ebmpipe import registry
from ebmpipe.files import atomic, sha256, write_signed
from ebmpipe.provenance import versions
from ebmpipe.runs import THEOREM_FILES, theorems_folder
from ebmpipe.theorems.base import Theorem


def entry(theorem: type[Theorem]) -> dict[str, int]:
    """The revisions that a theorem's numbers depend on: its own, as ``theorem``, and those of the methods whose losses it takes."""
    return {"theorem": theorem.revision, **{name: registry.load("methods", name).revision for name in theorem.methods}}


def prove(results: Path) -> Path:
    """Write theorems.npz, all curves in double precision, and theorems.json, what they come to; returns the card's path."""
    folder, (arrays_file, card_file) = theorems_folder(results), THEOREM_FILES
    arrays: dict[str, np.ndarray] = {}
    theorems: dict[str, object] = {}
    for name, theorem in registry.load_all("theorems").items():
        measured = theorem().measure()
        arrays |= {f"{name}.{key}": np.asarray(values, np.float64) for key, values in measured.arrays.items()}
        said = {key: getattr(theorem, key) for key in ("title", "statement", "source", "panel")}
        legend = theorem.legend or {"gradient": theorem.title}
        theorems[name] = said | {"legend": [*legend.items()], "revisions": entry(theorem), "numbers": dict(measured.numbers)}
    with atomic(folder / arrays_file) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    files = {arrays_file: sha256(folder / arrays_file)}
    write_signed(folder / card_file, {"theorems": theorems, "versions": versions(), "files": files})
    return folder / card_file
