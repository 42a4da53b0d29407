"""Restored test examples: the Gaussian control is the linear estimator, what was known stays, and what is observed is the same for all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe.config import RestorationConfig
from ebmpipe.energies import GaussianLaw, UniformLaw
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.optimisation import Diverged
from ebmpipe.restoration.posterior import posterior, resampled
from ebmpipe.restoring import missing_of, restorer
from ebmpipe.samplers import MALA
from ebmpipe.scored import Scored
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

IMAGES = DataSpec("made_up", "images", (1, 8, 8), -0.2, 0.4, 17, None, None, Path())
PLANE = DataSpec("made_up", "density", (2,), 0.0, 1.0, None, None, None, Path())
CONFIG = RestorationConfig(n=5, noise=0.6, chains=6, adaptation_steps=40, steps=80, draws=5, step_size=0.3)
TEST = np.random.default_rng(0).normal(-0.2, 0.4, (30, 1, 8, 8)).clip(-1, 1)


def scored(law=None, sigma=0.0, seed=0):
    law = law or GaussianLaw(IMAGES.shape, -0.2, 0.6)

    def smooth(x, generator):
        return x + sigma * torch.randn(x.shape, generator=generator)

    return Scored({}, "fresh", law, law, law, noise_level=sigma, smooth=smooth if sigma else None, seed=seed)


def restored(task, spec=IMAGES, test=TEST, config=CONFIG, **about):
    return restorer(scored(**about), spec, test, config, "cpu")(task)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_a_gaussian_energy_gives_the_linear_estimator(sigma):
    """Also an energy of smoothed data, whose Gaussian is that of the data with the noise added: the estimate is about the clean image."""
    law = GaussianLaw(IMAGES.shape, -0.2, (0.6**2 + sigma**2) ** 0.5)
    found = restored("denoising", law=law, sigma=sigma)
    gain = 0.6**2 / (0.6**2 + CONFIG.noise**2)
    best = -0.2 + gain * (found.observed + 0.2)
    # With the jump a draw varies less; independent chains tell how much.
    error = found.means.std(axis=0, ddof=1) / len(found.means) ** 0.5
    z = (found.mean - best) / np.sqrt((error**2).mean())
    assert abs(z.mean()) < 5 / z.size**0.5
    assert z.std() == pytest.approx(1, abs=0.25)
    assert found.sample.shape == found.clean.shape == (5, 1, 8, 8)
    assert (found.clean == TEST[reference_order("test", 30)[:5]]).all()


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_what_is_known_of_an_image_stays_as_it_is(sigma):
    found = restored("inpainting", sigma=sigma)
    missing = missing_of(IMAGES, "centre")
    assert missing.sum() == 16
    for each in (found.mean, found.sample, found.observed):
        np.testing.assert_allclose(each[:, ~missing], found.clean[:, ~missing], rtol=0, atol=1e-6)
    assert np.isnan(found.observed[:, missing]).all()
    assert (found.missing == missing).all()
    # Its coordinates are independent: nothing is learnt from the others, and the jump leaves the variance v - 2σ² + σ⁴/v, v that of E.
    spread = (0.36 - 2 * sigma**2 + sigma**4 / 0.36) ** 0.5
    assert found.sample[:, missing].mean() == pytest.approx(-0.2, abs=5 * spread / 80**0.5)
    assert found.sample[:, missing].std() == pytest.approx(spread, rel=0.4)


def test_masks():
    assert missing_of(IMAGES, "lower")[0, 4:].all()
    assert not missing_of(IMAGES, "lower")[0, :4].any()
    centre = missing_of(replace(IMAGES, shape=(3, 28, 28)), "centre")
    assert centre.sum() == 3 * 14 * 14
    assert centre[:, 7:21, 7:21].all()
    assert missing_of(PLANE, "centre").tolist() == [False, True]


def test_what_is_observed_depends_on_no_seed_and_no_energy():
    one, other = restored("denoising"), restored("denoising", law=GaussianLaw(IMAGES.shape, 0.1, 0.3), sigma=0.2, seed=7)
    assert (one.observed == other.observed).all()
    assert not (one.mean == other.mean).all()
    again = restored("denoising")
    assert (one.mean == again.mean).all()


def test_images_in_a_box_stay_in_it():
    law = UniformLaw(IMAGES.shape, Box(-1.0, 1.0))
    for task in ("denoising", "inpainting"):
        found = restored(task, law=law)
        assert np.abs(found.mean).max() <= 1
        assert np.abs(found.sample).max() <= 1


def test_less_noise_than_the_energy_s_own_is_refused():
    with pytest.raises(NotAvailable, match=r"0\.6, is no more than that of the data which the energy models, 0\.6"):
        restored("denoising", sigma=0.6)


def test_without_an_energy_nothing_is_restored():
    assert restorer(Scored({}, "fresh"), IMAGES, TEST, CONFIG, "cpu") is None


def test_an_energy_that_breaks_down_is_no_result():
    broken = replace(scored(), base=GaussianLaw(IMAGES.shape, float("nan"), 1.0))
    with pytest.raises(NotAvailable, match=r"broke down|not finite"):
        restorer(broken, IMAGES, TEST, CONFIG, "cpu")("inpainting")


def test_an_energy_that_is_none_has_diverged():
    nowhere = replace(scored(), energy=lambda x: x.flatten(1).sum(1) * float("nan"))
    with pytest.raises(Diverged, match="not finite at 5 of 5 points"):
        restorer(nowhere, IMAGES, TEST, CONFIG, "cpu")("denoising")


def test_draws_are_kept_in_the_plane_alone():
    test = np.random.default_rng(0).normal(size=(20, 2))
    found = restored("inpainting", spec=PLANE, test=test, law=GaussianLaw((2,), 0.0, 1.0))
    assert found.draws.shape == (5, 6, 5, 2)
    np.testing.assert_allclose(found.draws.mean(axis=0), found.means, atol=1e-6)
    assert (found.draws[..., 0] == found.clean[:, 0].astype(np.float32)).all()
    assert restored("denoising").draws.size == 0


def test_starts_are_chosen_in_proportion_to_their_weights():
    """Three proposals of weights 1, 2 and 3, over and over: with many of each, the choice follows the weights."""
    generator = torch.Generator().manual_seed(0)
    n = 20_000

    def propose():
        which = torch.randint(3, (n,), generator=generator)
        return which[:, None].double(), (which + 1.0).log()

    chosen = resampled(propose, 60, generator).squeeze(1)
    shares = torch.bincount(chosen.long(), minlength=3) / n
    assert shares.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.02)
    weightless = resampled(lambda: (torch.ones(4, 2), torch.full((4,), -torch.inf)), 3, generator)
    assert torch.equal(weightless, torch.ones(4, 2))


def test_modes_have_their_share_though_no_chain_crosses():
    """Two narrow modes of weights 1/4 and 3/4, ten widths apart: starts have the shares that short chains keep."""

    def energy(x):
        parts = [np.log(w) - (x - c).square().sum(1) / (2 * 0.2**2) for w, c in ((0.25, -1.0), (0.75, 1.0))]
        return -torch.logsumexp(torch.stack(parts), 0)

    generator = torch.Generator().manual_seed(0)
    config = RestorationConfig(n=2, chains=2000, adaptation_steps=0, steps=20, draws=2)

    def propose():
        x = 2 * torch.randn(2000, 1, generator=generator)
        return x, -energy(x) + x.square().sum(1) / 8

    found = posterior(energy, resampled(propose, 64, generator), config, generator, kernel=MALA(0.2))
    assert float((found.means > 0).double().mean()) == pytest.approx(0.75, abs=0.05)


def test_gradients_are_counted():
    config = RestorationConfig(n=2, chains=3, adaptation_steps=10, steps=20, draws=5)
    calls = 0

    class Counted(GaussianLaw):
        def value_and_grad(self, x):
            nonlocal calls
            calls += len(x)
            return super().value_and_grad(x)

    law = Counted((2,), 0.0, 1.0)
    found = posterior(law, torch.zeros(6, 2), config, torch.Generator().manual_seed(0))
    assert found.gradient_evaluations == calls
    assert found.means.shape == (3, 2, 2)
    assert 0 < found.acceptance <= 1
