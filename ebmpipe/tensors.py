"""Between tensors and arrays: those that are mapped from a file, and those that figures and metrics work with."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor


def shared(array: np.ndarray) -> Tensor:
    """A tensor on the memory of ``array``, which may be mapped and read-only: to be looked at, never written into.

    torch has no read-only tensors and warns of that. Rows that are taken by an index or a mask are copies and free to change.
    `Tensor.float` of what is single precision already is no copy.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(array)


def doubles(tensor: Tensor) -> np.ndarray:
    """A tensor as a float64 array of its own."""
    return np.asarray(tensor.detach().double().cpu())
