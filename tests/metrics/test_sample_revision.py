"""Revision of a generator's samples: the energy along chains with a known law, frames, and what is said of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from generators import revised_by_steps

from ebmpipe.energies import GaussianLaw
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.sample_revision import RevisionOfSamples
from ebmpipe.revising import reviser, schedule
from ebmpipe.sample_revision import SampleRevision
from ebmpipe.samplers.mala import MALA
from ebmpipe.samplers.ula import ULA
from ebmpipe.scored import Scored

SHAPES = [(2,), (5,), (1, 2, 3)]


def scored_of(shape, width, kernel, steps=10, **fields):
    """A standard Gaussian, revised from Gaussian samples of another width."""
    energy = GaussianLaw(shape, 0.0, 1.0)
    revision = SampleRevision(lambda n, generator: width * torch.randn(n, *shape, generator=generator), kernel, energy, steps)
    return Scored({}, "", energy, sample_revision=revision, **fields)


@pytest.mark.parametrize("shape", SHAPES)
class TestChains:
    def test_the_energy_along_langevin_chains_is_known(self, shape):
        """x ← (1 - ε²/2) x + εξ, so that the variance is known after every step, and half of it is the energy of each coordinate."""
        found = reviser(scored_of(shape, 0.3, ULA(0.4)), "cpu")(4_000, 100)
        variance, expected = 0.09, []
        for _ in range(101):
            expected.append(variance)
            variance = (1 - 0.08) ** 2 * variance + 0.16
        dimension = int(np.prod(shape))
        constant = dimension / 2 * np.log(2 * np.pi)
        np.testing.assert_allclose(found.energy.mean(axis=1) - constant, dimension / 2 * np.array(expected)[found.steps], atol=0.12)

    def test_at_its_own_law_it_stays(self, shape):
        found = reviser(scored_of(shape, 1.0, MALA(0.6)), "cpu")(2_000, 50)
        assert abs(found.energy[-1].mean() - found.energy[0].mean()) < 0.15
        assert found.frames.shape == (len(found.frame_steps), 2_000, *shape)

    def test_frames_and_distances_are_of_the_same_chains(self, shape):
        found = reviser(scored_of(shape, 2.0, ULA(0.5)), "cpu")(30, 40)
        assert found.frame_steps[0] == 0 and found.frame_steps[-1] == 40 and 10 in found.frame_steps
        at = list(found.frame_steps).index(10)
        moved = np.linalg.norm((found.frames[at] - found.frames[0]).reshape(30, -1), axis=1)
        np.testing.assert_allclose(found.distance, moved, rtol=1e-5)
        energy = GaussianLaw(shape, 0.0, 1.0)(torch.from_numpy(found.frames[-1]).float())
        np.testing.assert_allclose(found.energy[-1], energy, rtol=1e-4)

    def test_frames_end_with_the_jump_where_data_were_smoothed(self, shape):
        """Of a standard Gaussian the jump is x (1 - σ²)."""
        plain = reviser(scored_of(shape, 1.0, ULA(0.3)), "cpu")(20, 30).frames
        jumped = reviser(scored_of(shape, 1.0, ULA(0.3), noise_level=0.5), "cpu")(20, 30).frames
        np.testing.assert_allclose(jumped, 0.75 * plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("training", "last"), [(1, 1), (5, 5), (30, 1000), (200, 1000), (999, 1000)])
def test_steps_begin_with_all_of_training_s_and_end_with_the_last(training, last):
    steps, frames = schedule(training, last)
    assert steps[: training + 1] == list(range(training + 1)) and steps[-1] == frames[-1] == last
    assert set(frames) <= set(steps) and frames[0] == 0 and training in frames


def test_chains_that_are_lost_are_no_number():
    with pytest.raises(NotAvailable, match="were lost within"):
        reviser(scored_of((2,), 1.0, ULA(1e6)), "cpu")(8, 60)


def test_without_a_generator_nothing_is_said():
    assert reviser(Scored({}, "", GaussianLaw((2,), 0.0, 1.0)), "cpu") is None
    without = SimpleNamespace(revised=None)
    assert RevisionOfSamples().reports(without) == () and list(RevisionOfSamples().compute(without)) == []


def test_the_rows():
    evaluation = SimpleNamespace(revised=revised_by_steps((2,)), drawn={})
    rows = {row.metric: row.value for row in RevisionOfSamples().compute(evaluation)}
    assert rows == {"revision_energy_change": -3, "revision_long_change": -1, "revision_distance": 2}
    assert tuple(rows) == RevisionOfSamples().reports(evaluation)
    assert {"sample_revision/energy", "sample_revision/frames", "sample_revision/training_steps"} <= set(evaluation.drawn)
