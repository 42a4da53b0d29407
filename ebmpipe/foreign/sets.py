"""Examples of the sets that an energy is to tell from its data, in the shape and the levels of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ebmpipe import registry
from ebmpipe.data.dequantised import Dequantised
from ebmpipe.data.prepared import Prepared
from ebmpipe.data.resizing import IN_WORDS, fitted
from ebmpipe.foreign.choosing import CONSTANT, NOISE, by_default, needs_preparing
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import DataSpec

#: Sides of a box that are spelt out; of more, their number is said.
SPELT = 3


@dataclass(frozen=True)
class ForeignSet:
    """Examples that are not of the data, in model space.

    Attributes:
        name: what it is called.
        about: what it is, in words.
        size: how many examples it has; None if as many as are asked for.
        first: n -> n of its examples, (n, *event) float64, the same ones whenever it is asked for so many.
    """

    name: str
    about: str
    size: int | None
    first: Callable[[int], np.ndarray]


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
        low, high = test.min(axis=0), test.max(axis=0)
        sides = " × ".join(f"[{a:.3g}, {b:.3g}]" for a, b in zip(low, high, strict=True)) if low.size <= SPELT else f"of {low.size} sides"
        about = f"uniform in the box {sides} that holds the test split"
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
