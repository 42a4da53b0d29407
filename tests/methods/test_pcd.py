"""Persistent chains: none is lost, none is touched unasked, and the update is the likelihood's gradient."""

from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.samplers import Info, Kernel, State
from ebmpipe.spec import DataSpec

SPEC = DataSpec("made_up", "density", (2,), 0.0, 1.0, None, None, None, Path())
SMALL = NetworkConfig(settings={"width": 8})


class Still(Kernel):
    """Leaves every chain where it is, so that chains can be told apart."""

    name, revision, gradients_per_step = "still", 1, 0

    def init(self, energy, x):
        return State(x)

    def step(self, energy, state, generator):
        return state, Info(torch.ones(len(state.x)))


def pcd(**settings):
    return build("pcd", SPEC, settings, network=SMALL, iterations=10_000)


def test_no_chain_is_lost():
    """8192 chains in batches of 256 are the same 8192 after 2000 updates."""
    method = pcd(chains=8192, batch_size=256, steps=1)
    method.kernel = Still()
    lineage = torch.arange(8192.0) / 8192
    method.persistence.positions[:, 0], method.persistence.positions[:, 1] = lineage, 0
    generator = torch.Generator().manual_seed(0)
    # The chains alone matter here: an update of no effect leaves out the network.
    method.learner.update = lambda gradients: None
    for _ in range(2000):
        report = method.training_step(torch.zeros(256, 2), generator)
    assert torch.equal(method.persistence.positions[:, 0].sort().values, lineage)
    assert report["lineages"]() == 8192
    assert torch.equal(method.persistence.lineages.sort().values, torch.arange(8192))
    assert method.persistence.ages.sum() == 2000 * 256


def test_undrawn_chains_do_not_move():
    method = pcd(chains=64, batch_size=16, steps=3)
    before = method.persistence.positions.clone()
    method.training_step(torch.zeros(16, 2), torch.Generator().manual_seed(0))
    moved = (method.persistence.positions != before).any(1)
    assert moved.sum() == 16
    assert torch.equal(moved, method.persistence.ages == 3)


def test_restart_begins_a_new_life():
    method = pcd(chains=16, batch_size=16, steps=2, restart=1.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        report = method.training_step(torch.zeros(16, 2), generator)
    assert (method.persistence.ages == 2).all()
    # Sixteen began with the method, and sixteen more in each update.
    assert torch.equal(method.persistence.lineages.sort().values, torch.arange(48, 64))
    assert report["lineages"]() == 16


def test_restarts_come_at_their_rate_and_from_their_law():
    """A tenth of the drawn chains begins anew in each update, where `restart_from` says."""
    method = pcd(chains=512, batch_size=256, steps=1, restart=0.1, restart_from="data")
    generator = torch.Generator().manual_seed(0)
    drawn = [method.drawn(torch.full((256, 2), 50.0), generator) for _ in range(100)]
    anew = torch.cat([d.ages == 0 for d in drawn]) & torch.cat([d.x[:, 0] == 50 for d in drawn])
    count = int(torch.cat([d.x[:, 0] == 50 for d in drawn]).sum())
    assert abs(count - 2560) < 5 * (25_600 * 0.1 * 0.9) ** 0.5
    assert int(anew.sum()) == count
    fresh = pcd(chains=256, batch_size=256, steps=1, restart=1.0).drawn(torch.full((256, 2), 50.0), generator)
    assert fresh.x.abs().max() < 20, "the base is N(0, 1.5²)"


def test_a_buffer_that_does_not_divide_into_batches_is_drawn_whole():
    """Every chain of 100 in batches of 16 moves sooner or later."""
    method = pcd(chains=100, batch_size=16, steps=1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        method.training_step(torch.zeros(16, 2), generator)
    assert (method.persistence.ages > 0).all()


def test_fewer_chains_than_examples_are_refused():
    with pytest.raises(ValueError, match="at least as many chains"):
        pcd(chains=8, batch_size=16)


def test_the_update_follows_the_likelihood_gradient():
    """d/dθ [mean E(data) - mean E(chains)] with the chains detached, computed here by autograd on copies."""
    method = pcd(chains=32, batch_size=32, steps=1)
    method.kernel = Still()
    method.learner.config = method.learner.config.model_copy(update={"betas": (0.0, 0.0)})
    batch = torch.randn(32, 2)
    parameters = list(method.live.parameters())
    loss = method.live(batch).mean() - method.live(method.persistence.positions.detach()).mean()
    expected = torch.autograd.grad(loss, parameters)
    method.training_step(batch, torch.Generator().manual_seed(0))
    for ours, theirs in zip(method.learner.moments("first_moment"), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_chains_follow_the_temperature_of_their_kernel():
    assert pcd(kernel={"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.1}}).temperature == pytest.approx(0.25)
    assert pcd().temperature == 1.0


def test_chains_say_how_they_came_about():
    method = pcd(chains=16, batch_size=16, steps=2)
    method.training_step(torch.zeros(16, 2), torch.Generator().manual_seed(0))
    chains = method.chains()
    assert torch.equal(chains.x, method.persistence.positions)
    assert chains.sampler_steps == 2
    assert chains.notes["kernel"]["name"] == "mala"
