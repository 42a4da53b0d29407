"""Restored examples without chains: by exact draws from a Gaussian's posterior."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebmpipe.restoration.restored import Restored, Restorer, Task


def restored_by(test: Any, mean: Any, sd: float, tau: float = 0.5, n: int = 40, chains: int = 6, draws: int = 20) -> Restorer:
    """What the energy of N(mean, sd² I) makes of the first test examples: exact draws of its posterior in place of chains."""

    def restore(task: Task) -> Restored:
        rng = np.random.default_rng(4)
        clean = np.asarray(test[:n], dtype=np.float64)
        shape = (draws, chains, *clean.shape)
        if task == "denoising":
            gain = sd**2 / (sd**2 + tau**2)
            observed, missing = clean + tau * rng.standard_normal(clean.shape), None
            made = mean + gain * (observed - mean) + tau * gain**0.5 * rng.standard_normal(shape)
        else:
            missing = np.zeros(clean.shape[1:], dtype=bool)
            missing.reshape(-1)[missing.size // 2 :] = True
            observed = np.where(missing, np.nan, clean)
            made = np.where(missing, mean + sd * rng.standard_normal(shape), clean)
        return Restored(clean, observed, made.mean(axis=0), made[-1, 0], missing, made, tau, "by exact draws")

    return restore
