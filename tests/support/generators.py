"""What evaluations of generators give, made up: examples given back with a known error, and chains whose energy falls by known amounts."""

import numpy as np

from ebmpipe.metrics.reconstruction import Reconstructed
from ebmpipe.metrics.sample_revision import Revised


def given_back(shape, infers=True):
    """Gives examples back 0.2 away by the inference model and 0.1 away after its chains."""

    def reconstruct(n):
        clean = np.random.default_rng(4).uniform(-0.7, 0.7, size=(n, *shape))
        steps = np.array([0, 1, 10, 100])
        profile = np.stack([0.5 / (1 + steps), 0.04 / (1 + steps)])[: 1 + infers]
        between = np.zeros((4, 9, *shape))
        return Reconstructed(clean, clean + 0.2 if infers else None, clean + 0.1, clean + 0.05, steps, profile, between, 10, "mala")

    return reconstruct


def revised_by_steps(shape):
    """Chains whose energy falls by 3 nats in training's 10 steps and by another in those beyond; each moves by 2."""

    def revise(chains, last):
        steps = np.array([0, 5, 10, 100, last])
        energy = np.array([5.0, 4.0, 2.0, 1.5, 1.0])[:, None] + np.zeros(chains)
        frames = np.random.default_rng(5).normal(size=(4, chains, *shape))
        return Revised(steps, energy, np.array([0, 5, 10, last]), frames, np.full(chains, 2.0), 10, "ula")

    return revise
