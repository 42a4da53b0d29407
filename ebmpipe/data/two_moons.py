"""Two interleaved half circles."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.mixtures import BlurredCurve


class TwoMoons(BlurredCurve):
    """Two half circles of radius 2 with noise 0.2, each the other's point reflection.

    The moons of scikit-learn (Pedregosa et al. 2011, ``make_moons(noise=0.1)``), centred and scaled by two. No ``modes``: the
    moons interlock, so that nearness to two centres would not tell them apart.
    """

    name = "two_moons"
    revision = 1
    title = "Two moons"
    source = "formula, after make_moons of scikit-learn (Pedregosa et al. 2011)"
    noise = 0.2
    start, stop = 0.0, np.pi
    mirrored = True
    panels = 12
    reach = 5.0
    step = 0.08

    def curve(self, t: np.ndarray) -> np.ndarray:
        """The upper moon."""
        return np.stack([2 * np.cos(t) - 1, 2 * np.sin(t) - 0.5], axis=1)
