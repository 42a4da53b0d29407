"""The Swiss roll, seen from its end."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.mixtures import BlurredCurve


class SwissRoll(BlurredCurve):
    """A spiral r = t/5 for t uniform on [1.5π, 4.5π], with noise 0.2: the roll's cross-section (Marsland 2009).

    The first and third coordinates of scikit-learn's ``make_swiss_roll(noise=1)``, divided by five.
    """

    name = "swiss_roll"
    revision = 1
    title = "Swiss roll"
    source = "formula, after Marsland 2009 and make_swiss_roll of scikit-learn (Pedregosa et al. 2011)"
    noise = 0.2
    start, stop = 1.5 * np.pi, 4.5 * np.pi
    panels = 45
    reach = 5.0
    step = 0.08

    def curve(self, t: np.ndarray) -> np.ndarray:
        """The roll, from the inside outwards."""
        return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 5
