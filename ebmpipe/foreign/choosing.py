"""Which sets a data set's energies are to tell from it. Works on the entries of the catalogue, so that planning needs no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Sets that are made from a formula for whatever shape the data have.
NOISE, CONSTANT = "noise", "constant"
#: The image set that is always at hand, and the densities that serve by default, the first two that are not the data themselves.
PHOTOS = "photos"
DENSITIES = ("rings", "two_moons", "eight_gaussians")

#: By the id of a data set, what the catalogue says of it; its ``kind`` is read.
Entries = Mapping[str, Mapping[str, Any]]


def applying(known: Entries, dataset: str, kind: str) -> list[str]:
    """The sets that data of this kind can be told from: formulas first, then other data sets of the kind."""
    formulas = [NOISE, CONSTANT] if kind == "images" else [NOISE]
    others = [name for name, entry in known.items() if entry["kind"] == kind and name != dataset and kind != "vectors"]
    return formulas + others


def by_default(known: Entries, dataset: str, kind: str, at_hand: Iterable[str]) -> list[str]:
    """The sets that serve where a config names none.

    Args:
        known: the data sets.
        dataset: that whose energy is asked.
        kind: its kind.
        at_hand: ids of other data sets that are there anyway, in the config or prepared.
    """
    fitting = applying(known, dataset, kind)
    if kind == "images":
        return [name for name in fitting if name in {NOISE, CONSTANT, PHOTOS, *at_hand}]
    return [NOISE, *[name for name in DENSITIES if name in fitting][:2]]


def needs_preparing(known: Entries, name: str) -> bool:
    """Whether the examples of a set are read from what was prepared; densities are drawn from their formula."""
    return name in known and known[name]["kind"] != "density"
