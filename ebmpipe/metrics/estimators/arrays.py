"""What every comparison of samples with data asks of its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ebmpipe.metrics.base import Evaluation, NotAvailable


def checked(samples: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """``samples`` as float64 events of the same shape as those of ``reference``.

    Raises:
        ValueError: if they are events of another shape, or the reference is not finite: faults of the caller.
        NotAvailable: if a sampler broke down: fewer than two samples, or some that are not finite.
    """
    if samples.ndim != reference.ndim or samples.shape[1:] != reference.shape[1:]:
        raise ValueError(f"samples have event shape {samples.shape[1:]}, the data {reference.shape[1:]}")
    if not np.isfinite(reference).all():
        raise ValueError("the data that samples are compared with are not finite")
    if len(samples) < 2:
        raise NotAvailable(f"{len(samples)} samples are too few")
    finite = np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
    if not finite.all():
        raise NotAvailable(f"{int((~finite).sum())} of {len(samples)} samples are not finite")
    return np.asarray(samples, dtype=np.float64)


def subsample(x: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` rows of ``x`` drawn without replacement; all of them, in order, if there are no more than that."""
    return x if len(x) <= n else x[rng.choice(len(x), n, replace=False)]


def equally_many(samples: np.ndarray, evaluation: Evaluation, rng: np.random.Generator, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked samples and test examples, the larger side subsampled, no more than ``limit`` each.

    The test side is drawn first, so that every source of a run is compared with the same test examples.
    """
    samples = checked(samples, evaluation.test)
    n = min(len(samples), len(evaluation.test), limit)
    test = subsample(evaluation.test, n, rng)
    return subsample(samples, n, rng), test


def chunks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover range(n)."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def features_of(x: np.ndarray, evaluation: Evaluation) -> np.ndarray:
    """Features (n, d) of ``x``, float64; computed once for all the families that want them.

    Raises:
        NotAvailable: if there is no feature network, or it makes no finite numbers of ``x``.
    """
    if evaluation.features is None or evaluation.extractor is None:
        raise NotAvailable("there is no feature network for these data; `ebmpipe features` trains one where they are labelled")
    # Keyed by content: two sources of one length must never share an entry.
    content = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16).hexdigest()
    key = f"features/{evaluation.extractor}/{content}"
    if key not in evaluation.cache:
        features = np.asarray(evaluation.features(x), dtype=np.float64)
        if features.ndim != 2 or len(features) != len(x):
            raise ValueError(f"{evaluation.extractor} made features of shape {features.shape} from {len(x)} events")
        evaluation.cache[key] = features
    features = evaluation.cache[key]
    if not np.isfinite(features).all():
        raise NotAvailable(f"{evaluation.extractor} features of the samples are not finite")
    return features


def varied(features: np.ndarray, of: str) -> None:
    """Check that ``features`` (n, d) are not all one and the same.

    Raises:
        NotAvailable: if they are: a distance to a single point says nothing about a distribution.
    """
    if not (np.ptp(features, axis=0) > 1e-9 * (1 + np.abs(features).max())).any():
        raise NotAvailable(f"the features of the {of} have no variance")
