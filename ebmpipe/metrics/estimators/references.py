"""What is known of the test split in a feature space: found once per data set, kept on disk, and never trusted unchecked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ebmpipe.data import dequantised
from ebmpipe.files import Unwritable, digest, read_arrays, write_arrays
from ebmpipe.metrics.base import Evaluation
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.metrics.estimators.feature_statistics import CHUNK, KEPT, WIDEST, FeatureStatistics, statistics_of
from ebmpipe.metrics.estimators.jackknife import GROUPS

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureSpace

#: Bumped when the same data and network would give other statistics.
REVISION = 1

#: How the names of these files begin.
PREFIX = "reference-"


def content_of(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes, types and bytes of ``arrays``."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].shape} {arrays[name].dtype.str} ".encode())
        sha.update(np.ascontiguousarray(arrays[name]).data)
    return sha.hexdigest()


def identity_of(evaluation: Evaluation, space: FeatureSpace, n: int) -> dict[str, Any]:
    """All that the statistics of the first ``n`` test examples depend on."""
    return {
        "data_sha256": evaluation.data_sha256,
        "split": "test",
        "n": n,
        "space": space.name,
        "weights_sha256": space.weights_sha256,
        "preprocessing": space.preprocessing,
        "revision": [REVISION, dequantised.REVISION, CHUNK, KEPT, WIDEST, GROUPS],
    }


def read(path: Path, identity: str) -> FeatureStatistics | None:
    """The statistics in ``path``; None if there are none, or they are damaged or of something else."""
    from safetensors import SafetensorError

    try:
        arrays, metadata = read_arrays(path)
        if metadata["identity"] != identity or metadata["content"] != content_of(arrays):
            return None
        return FeatureStatistics(**{field.name: arrays[field.name] for field in fields(FeatureStatistics)})
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def write(path: Path, identity: str, statistics: FeatureStatistics) -> None:
    """Write ``statistics`` whole or not at all; of two jobs that do so at once the later one prevails, with the same bytes."""
    arrays = {field.name: getattr(statistics, field.name) for field in fields(FeatureStatistics)}
    write_arrays(path, arrays, {"identity": identity, "content": content_of(arrays)})


def reference_statistics(evaluation: Evaluation, space: FeatureSpace, n: int) -> FeatureStatistics:
    """The statistics of the first ``n`` test examples of the fixed order in ``space``, from memory, disk, or the images.

    Raises:
        As `features_of`.
    """
    identity = digest(identity_of(evaluation, space, n))
    key = f"features/reference/{identity}"
    if key in evaluation.cache:
        return evaluation.cache[key]  # type: ignore[no-any-return]
    keeps = evaluation.references is not None and evaluation.data_sha256
    path = (evaluation.references or Path()) / f"{PREFIX}{identity[:32]}.safetensors"
    found = read(path, identity) if keeps else None
    if found is None:
        found = statistics_of(evaluation.test, reference_order("test", len(evaluation.test))[:n], space, "test examples")
        if keeps:
            with suppress(Unwritable):  # it is there to save time, and the numbers are the same without it
                write(path, identity, found)
    evaluation.cache[key] = found
    return found
