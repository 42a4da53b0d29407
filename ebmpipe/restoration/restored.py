"""What became of test examples that were denoised or completed; metrics read it without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Task = Literal["denoising", "inpainting"]
#: Restores test examples, which are the same for every method and seed, as is what is observed of them.
Restorer = Callable[[Task], "Restored"]


@dataclass(frozen=True)
class Restored:
    """Test examples, what was observed of them, and what an energy makes of that. Arrays are float64 in model space.

    Attributes:
        clean: the examples, (n, *event).
        observed: with noise of standard deviation ``noise``; or with the missing coordinates as NaN.
        means: mean of each chain's draws, (c, n, *event).
        sample: one draw of each, (n, *event).
        missing: which coordinates were missing, (*event) bool; None where noise was to be taken off.
        draws: every draw, (d, c, n, *event); in the plane only, else empty.
        noise: τ of denoising.
        protocol: how they were made, in words.
    """

    clean: np.ndarray
    observed: np.ndarray
    means: np.ndarray
    sample: np.ndarray
    missing: np.ndarray | None
    draws: np.ndarray
    noise: float
    protocol: str

    @property
    def mean(self) -> np.ndarray:
        """The mean over chains and draws, an estimate of the posterior mean, (n, *event)."""
        return np.asarray(self.means.mean(axis=0))
