"""Numbers on restored examples: true conditional laws by quadrature, excesses in closed form, and image quality against torchmetrics."""

from dataclasses import replace

import numpy as np
import pytest
from restored_examples import restored_by
from scipy.stats import norm

from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.denoising import Denoising
from ebmpipe.metrics.estimators.image_quality import psnr, squared_errors, ssim, unit
from ebmpipe.metrics.estimators.true_posterior import conditional_cdf, denoising_mean
from ebmpipe.metrics.inpainting import Inpainting
from ebmpipe.registry import load


def rows_of(family, evaluation):
    return {row.metric: row for row in family().compute(evaluation)}


def test_the_posterior_mean_of_a_gaussian(gaussian):
    density = gaussian()
    y = np.random.default_rng(0).normal(0, 2, (50, 2))
    for tau in (0.2, 0.5, 2.0):
        gain = density.sd**2 / (density.sd**2 + tau**2)
        np.testing.assert_allclose(denoising_mean(density, y, tau), density.mean + gain * (y - density.mean), atol=1e-6)


def test_the_posterior_mean_of_a_mixture():
    """Of eight Gaussians: the components' means, weighted by how well each explains what was observed."""
    density = load("data", "eight_gaussians")()
    y, tau = np.random.default_rng(0).normal(0, 2, (50, 2)), 0.7
    wide = density.sd**2 + tau**2
    squares = ((y[:, None] - density.modes) ** 2).sum(axis=2)
    weights = np.exp(-squares / (2 * wide))
    weights /= weights.sum(axis=1, keepdims=True)
    means = density.modes + density.sd**2 / wide * (y[:, None] - density.modes)
    np.testing.assert_allclose(denoising_mean(density, y, tau), (weights[..., None] * means).sum(axis=1), atol=1e-6)


def test_the_conditional_law_of_a_gaussian_and_of_a_mixture(gaussian):
    density = gaussian()
    edges, cdf = conditional_cdf(density, np.array([0.0, 3.0]))
    np.testing.assert_allclose(cdf, np.tile(norm.cdf(edges, density.mean[1], density.sd), (2, 1)), atol=1e-4)
    eight = load("data", "eight_gaussians")()
    edges, cdf = conditional_cdf(eight, np.array([0.1]))
    weights = norm.pdf(0.1, eight.modes[:, 0], eight.sd)
    truth = (weights[:, None] * norm.cdf(edges, eight.modes[:, [1]], eight.sd)).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(cdf[0], truth, atol=1e-4)


def test_nothing_is_lost_by_the_true_law(plane):
    """Unbiased: of few draws of the truth neither excess is more than its error, over examples."""
    evaluation = plane()
    density = evaluation.density
    many = replace(evaluation, restored=restored_by(evaluation.test, density.mean, density.sd, n=800, chains=3, draws=2))
    for family in (Denoising, Inpainting):
        row = rows_of(family, many)[family.plane]
        assert abs(row.value) < 5 * row.stderr
        assert row.n == 800


def test_a_wrong_mean_costs_what_it_must(plane):
    """The model N(m + 1, sd²): the posterior mean is off by (1 - gain), and the distribution functions by that of one more."""
    evaluation = plane()
    density = evaluation.density
    wrong = replace(evaluation, restored=restored_by(evaluation.test, density.mean + 1, density.sd, n=300, chains=8, draws=20))
    gain = density.sd**2 / (density.sd**2 + 0.25)
    row = rows_of(Denoising, wrong)["denoising_excess_mse"]
    assert row.value == pytest.approx(2 * (1 - gain) ** 2, abs=5 * row.stderr)
    ticks = np.linspace(-8, 8, 20_001)
    cramer = ((norm.cdf(ticks, 1, density.sd) - norm.cdf(ticks, 0, density.sd)) ** 2).sum() * (ticks[1] - ticks[0])
    row = rows_of(Inpainting, wrong)["inpainting_excess_crps"]
    assert row.value == pytest.approx(cramer, abs=5 * row.stderr)


def test_baselines_need_no_model(plane, pictures):
    evaluation = plane()
    density = evaluation.density
    rows = rows_of(Denoising, evaluation) | rows_of(Inpainting, evaluation)
    gain = density.sd**2 / (density.sd**2 + 0.25)
    # What was observed is off the best estimate by (1 - gain) (y - m), whose variance is sd² + τ².
    expected = 2 * (1 - gain) ** 2 * (density.sd**2 + 0.25)
    row = rows["denoising_excess_mse@observed"]
    assert row.value == pytest.approx(expected, abs=5 * row.stderr)
    # The coordinates are independent: the law of x₂ alone is the conditional one.
    assert rows["inpainting_excess_crps@mean_example"].value < 0.01
    of_images = pictures()
    rows = rows_of(Denoising, of_images) | rows_of(Inpainting, of_images)
    found = of_images.restored("denoising")
    by_hand = squared_errors(unit(found.clean), unit(found.observed)).mean()
    assert rows["denoising_mse@observed"].value == pytest.approx(by_hand)
    mean = unit(np.where(of_images.restored("inpainting").missing, np.asarray(of_images.train).mean(axis=0), found.clean))
    where = of_images.restored("inpainting").missing
    assert rows["inpainting_mse@mean_example"].value == pytest.approx(squared_errors(unit(found.clean), mean, where).mean())


def test_runs_without_energy_and_data_without_density_say_so(plane):
    for family in (Denoising, Inpainting):
        with pytest.raises(NotAvailable, match="has no energy"):
            list(family().compute(plane(restored=None)))
        with pytest.raises(NotAvailable, match="true density is unknown"):
            list(family().compute(replace(plane(), density=None)))


def test_small_images_have_no_structural_similarity(pictures):
    evaluation = pictures()
    small = replace(evaluation, spec=replace(evaluation.spec, shape=(1, 6, 6)))
    assert not any("ssim" in metric for metric in Denoising().reports(small))
    assert any("ssim" in metric for metric in Denoising().reports(evaluation))
    with pytest.raises(ValueError, match="7 x 7 pixels or more, not 6 x 6"):
        ssim(np.zeros((1, 1, 6, 6)), np.zeros((1, 1, 6, 6)))


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (3, 3, 20, 16)])
def test_image_quality_agrees_with_torchmetrics(shape):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.image")
    rng = np.random.default_rng(0)
    x = rng.random(shape)
    y = np.clip(x + 0.2 * rng.normal(size=shape), 0, 1)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    _, similar = theirs.structural_similarity_index_measure(
        a, b, gaussian_kernel=False, kernel_size=7, data_range=1.0, reduction="none", return_full_image=True
    )
    # Theirs has windows about border pixels too, which see the image mirrored.
    np.testing.assert_allclose(ssim(x, y), similar[..., 3:-3, 3:-3].mean(dim=(1, 2, 3)).numpy(), rtol=1e-6)
    ratio = theirs.peak_signal_noise_ratio(a, b, data_range=1.0, dim=(1, 2, 3), reduction="none")
    np.testing.assert_allclose(psnr(squared_errors(x, y)), ratio.numpy(), rtol=1e-6)


def test_equal_images_are_equal():
    x = np.random.default_rng(0).random((2, 1, 9, 9))
    np.testing.assert_allclose(ssim(x, x), 1)
    assert squared_errors(x, x).tolist() == [0, 0]
    assert unit(np.array([-1.5, -1.0, 0.0, 1.0, 3.0])).tolist() == [0, 0, 0.5, 1, 1]
    where = np.zeros((1, 9, 9), dtype=bool)
    where[0, 0, 0] = True
    np.testing.assert_allclose(squared_errors(x, x + where, where), 1)
