"""A checkerboard of eight uniform squares."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.base import Density


class Checkerboard(Density):
    """Uniform on the eight dark fields of a 4 x 4 board over [-4, 4]² (Grathwohl et al. 2019); entropy log 32."""

    name = "checkerboard"
    revision = 1
    title = "Checkerboard"
    source = "formula, after Grathwohl et al. 2019"
    reach = 4.0
    entropy_method = "closed form"
    edges = True
    modes = np.array([(x, y) for x in (-3.0, -1.0, 1.0, 3.0) for y in (-3.0, -1.0, 1.0, 3.0) if (x + y) % 4 == 2])

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A dark field, then a uniform point of it."""
        return self.modes[rng.integers(8, size=n)] + rng.uniform(-1.0, 1.0, size=(n, 2))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Closed form; -inf off the dark fields, whose edges belong to them, so that a sample rounded to float32 stays inside."""
        away = np.abs(np.asarray(x, dtype=np.float64)[:, None] - self.modes).max(axis=2)
        return np.where((away <= 1).any(axis=1), -np.log(32.0), -np.inf)

    def entropy(self) -> float:
        """log 32, the logarithm of the dark area."""
        return float(np.log(32.0))
