"""Ways between examples, made up: what an interpolator gives, without a model."""

import numpy as np

from ebmpipe.metrics.interpolation import Interpolated


def straight_ways(shape):
    """Goes straight between random ends on both ways, over a hill of E on the second."""

    def interpolate(pairs, points):
        ends = np.random.default_rng(3).normal(size=(2, pairs, 1, *shape))
        times = np.linspace(0, 1, points)
        wide = times.reshape(1, points, *[1] * len(shape))
        ways = ends[0] * (1 - wide) + ends[1] * wide
        energy = np.stack([np.ones((pairs, points)), np.ones((pairs, points)) + np.arange(pairs)[:, None] * times * (1 - times)])
        return Interpolated(ways, ways, energy)

    return interpolate
