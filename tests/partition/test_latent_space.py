"""Annealing of tilts in latent space, and of laws that are their own base: closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from backbones import gaussian_backbone

from ebmpipe.bracketing import bracketed
from ebmpipe.config import PartitionConfig
from ebmpipe.energies import GaussianLaw
from ebmpipe.scored import Scored
from ebmpipe.spec import DataSpec
from ebmpipe.transport import LatentEnergy, TiltedEnergy

CONFIG = PartitionConfig(repeats=16, chains=64, pilot_chains=128, variance=0.5, most_levels=100, warm_up=20)


def spec_of(shape):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.4, 1.7, None, None, None, Path())


def quadratic(shape, mean, std):
    """f = Σ a_i y_i²/2 - b_i y_i of standardised y, with log E exp(-f) under N(0, I): what log Z is, in any dimension."""
    d = math.prod(shape)
    a, b = torch.linspace(-0.4, 2.0, d), torch.linspace(-0.5, 0.5, d)
    log_z = float((b.square() / (1 + a) / 2 - (1 + a).log() / 2).sum())

    def tilt(x):
        y = ((x - mean) / std).flatten(1)
        return (a * y.square() / 2 - b * y).sum(1)

    def exact(n, generator):
        return b / (1 + a) + torch.randn(n, d, generator=generator) / (1 + a).sqrt()

    return tilt, exact, log_z


@pytest.mark.parametrize("shape", [(5,), (64,), (1, 4, 4)])
def test_log_z_of_a_tilt_is_that_under_what_it_tilts(shape):
    spec = spec_of(shape)
    law = gaussian_backbone(spec).law
    tilt, exact, log_z = quadratic(shape, spec.mean, spec.std)
    drawn = []

    def latent_samples(n, generator):
        drawn.append(n)
        return exact(n, generator)

    scored = Scored({}, "fresh", TiltedEnergy(tilt, law), base=law, latent=LatentEnergy(tilt, law), latent_samples=latent_samples)

    def no_flow():
        raise AssertionError("it is annealed to from what it tilts")

    found = bracketed(scored, no_flow, CONFIG, "cpu")()
    assert drawn == [CONFIG.repeats * CONFIG.chains]
    for name, estimate in found.estimates.items():
        if name != "importance" or (len(shape) == 1 and shape[0] < 10):
            assert estimate.log_z == pytest.approx(log_z, abs=4 * estimate.stderr + 1e-3), name
            assert estimate.stderr < 0.1
    assert found.base == "the law that it tilts, in its latent space" and found.levels > 1
    assert 0 < found.importance.ess < 1


@pytest.mark.parametrize("kind", ["gaussian", "flow"])
def test_a_normalised_law_is_its_own_base_and_nothing_is_estimated(kind):
    spec = spec_of((3,))
    law = GaussianLaw((3,), 0.0, 1.0) if kind == "gaussian" else gaussian_backbone(spec).law
    scored = Scored({"fresh": np.zeros((4, 3))}, "fresh", law, base=law)
    found = bracketed(scored, lambda: law, CONFIG, "cpu")()
    assert found.extremes == (0.0, 0.0) and found.levels == 0 and found.exact
    assert all(estimate.gradient_evaluations == 0 and estimate.ess == 1 for estimate in found.estimates.values())
    assert found.base == ("the Gaussian base" if kind == "gaussian" else "its own law")
