"""Alternating back-propagation: what it comes to, and the latent vectors that it keeps."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ebmpipe.methods import build
from ebmpipe.spec import DataSpec
from ebmpipe.training import update

SHAPES = [(3,), (1, 2, 2)]


def spec_of(shape, mean=0.1, std=1.2):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, mean, std, None, None, None, Path())


def made(shape, iterations=50, **settings):
    given = {"batch_size": 8, "latent": 2, "noise": 0.4, "data_noise": 0, "decoder": {"width": 8}, "posterior_steps": 3}
    given["posterior_kernel"] = {"name": "mala", "settings": {"step_size": 0.2}}
    return build("generator_abp", spec_of(shape), given | settings, 0, iterations=iterations)


def examples(shape, n=8, seed=2):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def test_it_comes_to_the_data():
    """Data with two strong directions and noise in all three: what factor analysis would find."""
    axes = torch.tensor([[1.0, 0.5, -0.5], [0.0, 0.8, 0.8]])
    generator = torch.Generator().manual_seed(1)
    settings = {"batch_size": 256, "posterior_steps": 15, "begin": "prior", "decoder": {"width": 8, "depth": 1}}
    settings["posterior_kernel"] = {"name": "mala", "settings": {"step_size": 0.35}}
    method = made((3,), 600, optimiser={"learning_rate": 1e-2, "average_decay": 0.99}, **settings)
    mean, noise = torch.tensor([0.5, -0.3, 0.0]), 0.4 * 1.2
    for _ in range(600):
        z = torch.randn(256, 2, generator=generator)
        method.training_step(mean + z @ axes + noise * torch.randn(256, 3, generator=generator), generator)
    x = method.sample(20_000, generator).x
    torch.testing.assert_close(x.mean(0), mean, atol=0.08, rtol=0)
    torch.testing.assert_close(x.T.cov(), axes.T @ axes + noise**2 * torch.eye(3), atol=0.15, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
class TestWhatItKeeps:
    def test_chains_go_on_where_they_were_of_the_same_example(self, shape, monkeypatch):
        method, starts = made(shape), []
        taught = type(method).taught

        def watched(self, batch, start, generator):
            starts.append(start.clone())
            return taught(self, batch, start, generator)

        monkeypatch.setattr(type(method), "taught", watched)
        generator = torch.Generator().manual_seed(0)
        method.followed_step(examples(shape, 4), torch.tensor([5, 1, 7, 2]), generator)
        assert method.kept.shape == (8, 2) and method.kept.isnan().all(1).tolist() == [True, False, False, True, True, False, True, False]
        first = method.kept.clone()
        method.followed_step(examples(shape, 3), torch.tensor([2, 0, 5]), generator)
        assert torch.equal(starts[1][[0, 2]], first[[2, 5]]) and starts[1].isfinite().all()
        assert torch.equal(method.kept[[1, 7]], first[[1, 7]]), "of others nothing changes"
        assert not torch.equal(method.kept[[2, 5]], first[[2, 5]])

    def test_they_are_part_of_its_state(self, shape):
        method, other = made(shape), made(shape)
        method.followed_step(examples(shape, 4), torch.tensor([0, 1, 2, 3]), torch.Generator().manual_seed(0))
        other.load_state_dict(method.state_dict())
        torch.testing.assert_close(other.kept, method.kept)
        both = [each.followed_step(examples(shape, 2), torch.tensor([1, 3]), torch.Generator().manual_seed(1)) for each in (method, other)]
        assert both[0] == both[1]

    def test_training_says_which_examples_they_are(self, shape):
        batches = SimpleNamespace(chosen=lambda step: torch.arange(4) + step)
        for begin, seen in (("kept", 6), ("prior", 0)):
            method = made(shape, begin=begin)
            update(method, batches, examples(shape, 4), 2, torch.Generator().manual_seed(0))
            assert len(method.kept) == seen and method.follows_examples == (begin == "kept")


def test_the_density_is_that_of_a_mixture_and_integrates_to_one():
    method = made((2,), draws=7)
    ticks = torch.linspace(-9, 9, 300)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), -1).view(-1, 2)
    total = (-method.energy(grid)).double().exp().sum() * (ticks[1] - ticks[0]).double() ** 2
    assert total == pytest.approx(1, rel=1e-3)
    law = method.law
    centres = law.decoded(law.fixed)
    x = examples((2,), 5)
    squares = (x[:, None] - centres).square().sum(2) / (2 * (0.4 * 1.2) ** 2)
    expected = -(torch.logsumexp(-squares, 1) - math.log(7) - math.log(2 * math.pi * (0.4 * 1.2) ** 2))
    torch.testing.assert_close(method.energy(x), expected, rtol=1e-4, atol=1e-4)
