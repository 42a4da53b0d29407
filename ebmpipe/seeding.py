"""One root seed per run; every stream of randomness is derived from it by name."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: The streams of a run. Each is independent of the others, so that longer training does not change the samples.
STREAMS = ("init", "batches", "noise", "sampling", "evaluation")


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on ``seed`` and every name; different paths give unrelated seeds."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """A torch generator on ``device`` for the stream ``names`` of the root ``seed``."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for the stream ``names`` of the root ``seed``."""
    return np.random.default_rng(derive(seed, *names))
