"""How examples are dealt out to splits: so many, of every class its share."""

from __future__ import annotations

import numpy as np


def by_class(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All indices of ``labels`` (n,), shuffled and then sorted by class; (n,) int64."""
    shuffled = rng.permutation(len(labels))
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def drawn(rest: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``count`` of the indices ``rest`` in random order, and those that are left.

    Of indices sorted by class every m-th is taken: as many as asked for, and of each class its share to within one.
    """
    taken = np.diff(np.arange(len(rest) + 1) * count // len(rest)) == 1
    return rng.permutation(rest[taken]), rest[~taken]
