"""Eight Gaussians on a circle."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.base import Density
from ebmpipe.data.mixtures import log_mixture, mixture_score

_ANGLES = np.arange(8) * np.pi / 4


class EightGaussians(Density):
    """Equal mixture of eight Gaussians of sd 0.5/√2 on a circle of radius 4/√2 (Neklyudov, Jaini & Welling 2021)."""

    name = "eight_gaussians"
    revision = 1
    title = "Eight Gaussians"
    source = "formula, after Neklyudov, Jaini & Welling 2021"
    sd = 0.5 / np.sqrt(2)
    reach = 6.0
    step = 0.1
    modes = 4 / np.sqrt(2) * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A component, then its Gaussian."""
        return np.asarray(self.modes[rng.integers(8, size=n)] + self.sd * rng.standard_normal((n, 2)))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Closed form."""
        return log_mixture(x, self.modes, np.full(8, 1 / 8), self.sd)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Closed form."""
        return mixture_score(x, self.modes, np.full(8, 1 / 8), self.sd)
