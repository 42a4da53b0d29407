"""All states of a few binary coordinates."""

from __future__ import annotations

import numpy as np

#: Most coordinates whose states are enumerated: 2^20 states are a million, of which an energy is known in seconds.
MOST = 20


def all_states(shape: tuple[int, ...]) -> np.ndarray:
    """The 2^D states of events of ``shape``, (2^D, *shape) int8, every coordinate -1 or 1; coordinate i of state k is bit i of k.

    Raises:
        ValueError: if there are more than `MOST` coordinates.
    """
    dimension = int(np.prod(shape))
    if dimension > MOST:
        raise ValueError(f"2^{dimension} states are too many to enumerate: at most {MOST} coordinates")
    bits = np.arange(2**dimension)[:, None] >> np.arange(dimension) & 1
    return (2 * bits - 1).astype(np.int8).reshape(-1, *shape)
