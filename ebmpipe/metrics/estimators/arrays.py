"""What every comparison of samples with data asks of its arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ebmpipe.metrics.base import Evaluation, Events, NotAvailable
from ebmpipe.seeding import numpy_generator

#: Rows that are looked at together where all of many are looked at.
ROWS = 1_024


def chunks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover range(n)."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def finite(x: np.ndarray) -> np.ndarray:
    """Which events are finite, (n,)."""
    found = np.empty(len(x), dtype=bool)
    for part in chunks(len(x), ROWS):
        found[part] = np.isfinite(x[part]).reshape(part.stop - part.start, -1).all(axis=1)
    return found


def checked(samples: np.ndarray, reference: Events) -> np.ndarray:
    """``samples`` as they are, if they are finite events of the same shape as those of ``reference``.

    Raises:
        ValueError: if they are events of another shape, or the reference is not finite: faults of the caller.
        NotAvailable: if a sampler broke down: fewer than two samples, or some that are not finite.
    """
    if samples.ndim != reference.ndim or samples.shape[1:] != reference.shape[1:]:
        raise ValueError(f"samples have event shape {samples.shape[1:]}, the data {reference.shape[1:]}")
    # Levels are finite, whatever the noise.
    if isinstance(reference, np.ndarray) and not finite(reference).all():
        raise ValueError("the data that samples are compared with are not finite")
    if len(samples) < 2:
        raise NotAvailable(f"{len(samples)} samples are too few")
    lost = int((~finite(samples)).sum())
    if lost:
        raise NotAvailable(f"{lost} of {len(samples)} samples are not finite")
    return samples


def subsample(x: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` rows of ``x`` drawn without replacement, float64; all of them, in order, if there are no more than that."""
    return np.asarray(x if len(x) <= n else x[rng.choice(len(x), n, replace=False)], dtype=np.float64)


def reference_order(split: str, n: int) -> np.ndarray:
    """The order in which examples of a split of ``n`` are taken, (n,): fixed, so that every run on these data meets the same first ones."""
    return numpy_generator(0, "evaluation", "reference", split).permutation(n)


def test_examples(evaluation: Evaluation, n: int) -> np.ndarray:
    """The first ``n`` test examples of the fixed order, float64; all of them, as they stand, if there are no more than that."""
    test = evaluation.test
    return np.asarray(test[:] if len(test) <= n else test[reference_order("test", len(test))[:n]], dtype=np.float64)


def equally_many(samples: np.ndarray, evaluation: Evaluation, rng: np.random.Generator, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked samples and test examples, float64, the larger side cut to the size of the smaller, no more than ``limit`` each."""
    samples = checked(samples, evaluation.test)
    n = min(len(samples), len(evaluation.test), limit)
    return subsample(samples, n, rng), test_examples(evaluation, n)


def pixel_protocol(evaluation: Evaluation, n: int, against: int, split: str = "test") -> str:
    """What a comparison of ``n`` samples with ``against`` examples of a split depends on, where events are images; empty elsewhere."""
    if evaluation.spec.kind != "images":
        return ""
    return f"pixels in model space, n = {n} samples and {against} of the {split} split, dequantised, no resizing, samples not quantised"
