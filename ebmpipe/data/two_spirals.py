"""Two spirals, wound into each other."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.mixtures import BlurredCurve


class TwoSpirals(BlurredCurve):
    """Two Archimedean spirals r = t/3 of one and a half turns with noise 0.1, each the other's point reflection.

    The spirals of Grathwohl et al. 2019 (FFJORD) without their additional uniform jitter: isotropic noise alone keeps the
    arms centred and the density a line integral. The mass grows with t, so that the arms are about equally dense along their length.
    """

    name = "two_spirals"
    revision = 1
    title = "Two spirals"
    source = "formula, after Grathwohl et al. 2019"
    noise = 0.1
    start, stop = 0.0, 3 * np.pi
    mirrored = True
    panels = 100
    reach = 4.5
    step = 0.04

    def curve(self, t: np.ndarray) -> np.ndarray:
        """One arm, from the centre outwards."""
        return np.stack([-t * np.cos(t), t * np.sin(t)], axis=1) / 3

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """t = stop √u."""
        return np.asarray(self.stop * np.sqrt(u))

    def weight(self, t: np.ndarray) -> np.ndarray:
        """w(t) = 2 t / stop²."""
        return 2 * t / self.stop**2
