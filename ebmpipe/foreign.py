"""What an energy is to tell from its data: which sets serve, and their examples. Choosing reads entries of the catalogue alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe import registry
from ebmpipe.data.dequantised import Dequantised
from ebmpipe.data.prepared import Prepared
from ebmpipe.data.resizing import IN_WORDS, fitted
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import DataSpec

#: Bumped when the same sets would give other examples.
REVISION = 1
#: Sets that are made from a formula for whatever shape the data have.
NOISE, CONSTANT = "noise", "constant"
#: The image set that is always at hand, and the densities that serve by default, the first two that are not the data themselves.
PHOTOS = "photos"
DENSITIES = ("rings", "two_moons", "eight_gaussians")

#: By the id of a data set, what the catalogue says of it; its ``kind`` is read.
Entries = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ForeignSet:
    """Examples that are not of the data, in model space.

    Attributes:
        name: what it is called.
        about: what it is, in words.
        size: how many examples it has; None if as many as are asked for.
        first: n -> its first n examples, (n, *event) float64, the same whatever n.
    """

    name: str
    about: str
    size: int | None
    first: Callable[[int], np.ndarray]


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


def load_foreign(names: list[str] | None, data: Prepared) -> dict[str, ForeignSet]:
    """The sets, by name.

    Args:
        names: which; None for those that serve by default, as far as they were prepared beside ``data``.
        data: the data set; others lie beside its folder.

    Raises:
        ValueError: if one that is named does not fit these data.
        UnusableData: if one that is named was not prepared, or is damaged.
    """
    spec, beside = data.spec, data.folder.parent
    found = {path.parent.name for path in beside.glob("*/card.json")}
    known = {name: {"kind": registry.load("data", name).kind} for name in registry.names("data")}
    if names is None:
        served = by_default(known, spec.name, spec.kind, found)
        names = [name for name in served if not needs_preparing(known, name) or name in found]
    return {name: image_set(name, spec, beside) if spec.kind == "images" else vector_set(name, data) for name in names}


def vector_set(name: str, data: Prepared) -> ForeignSet:
    """A set of vectors like those of ``data``, from a formula."""
    spec = data.spec
    if name == NOISE:
        test = data.split("test")
        low, high = test.min(), test.max()
        about = f"uniform in the cube [{low:.3g}, {high:.3g}] that holds the test split"
        return drawn(name, about, lambda n, rng: rng.uniform(low, high, (n, *spec.shape)))
    if spec.kind != "density":
        raise ValueError(f"evaluation.out_of_distribution: {spec.name} is {spec.kind}, which only {NOISE} is told from, not {name!r}")
    density = registry.load("data", name)()
    if density.kind != "density" or name == spec.name:
        raise ValueError(f"evaluation.out_of_distribution: {name!r} is no other density than {spec.name}")
    return drawn(name, f"exact samples of the density {name}", density.sample)


def drawn(name: str, about: str, sample: Callable[[int, np.random.Generator], np.ndarray]) -> ForeignSet:
    """A set of independent draws from a fixed stream."""
    return ForeignSet(
        name, about, None, lambda n: np.asarray(sample(n, numpy_generator(0, "evaluation", "foreign", name)), dtype=np.float64)
    )


def image_set(name: str, spec: DataSpec, beside: Path) -> ForeignSet:
    """A set of images of the shape and levels of ``spec``, dequantised like the data."""
    assert spec.levels is not None
    levels = spec.levels

    def stream() -> np.random.Generator:
        return numpy_generator(0, "evaluation", "foreign", name, "levels")

    def dequantised(values: np.ndarray) -> np.ndarray:
        return np.asarray(Dequantised(values, levels, "evaluation", "foreign", name)[:])

    if name == NOISE:
        return ForeignSet(
            name, f"every pixel uniform over {levels} levels", None, lambda n: dequantised(stream().integers(0, levels, (n, *spec.shape)))
        )
    if name == CONSTANT:
        colour = (spec.shape[0], 1, 1)
        about = f"one {'level' if spec.shape[0] == 1 else 'colour'} per image, uniform over {levels} levels"
        ones = np.ones(spec.shape, dtype=np.int64)
        return ForeignSet(name, about, None, lambda n: dequantised(stream().integers(0, levels, (n, *colour)) * ones))
    other = Prepared(beside / name, name)
    if other.spec.kind != "images" or name == spec.name:
        raise ValueError(f"evaluation.out_of_distribution: {name!r} is no other image data set than {spec.name}")
    assert other.spec.levels is not None
    values, of = other.split("test"), other.spec.levels
    order = reference_order("test", len(values))
    about = f"the test split of {name}, {IN_WORDS}"
    return ForeignSet(name, about, len(values), lambda n: dequantised(fitted(values[order[:n]], of, spec.shape, levels)))
