"""The flow as a method: maximum likelihood to its optimum, exact samples, a density that is normalised, and where it begins."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from ebmpipe.energies import on_arrays
from ebmpipe.methods import build
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.spec import DataSpec

MEAN, ROOT = torch.tensor([0.7, -0.4]), torch.tensor([[1.2, 0.0], [0.9, 0.5]])


def spec_of(shape=(2,), kind="density"):
    return DataSpec("made_up", kind, shape, 0.15, 1.2, None, None, 2.0, Path())


def examples(n, generator):
    return MEAN + torch.randn(n, 2, generator=generator) @ ROOT.T


@pytest.fixture(scope="module")
def fitted():
    """To a correlated Gaussian, which affine maps can be."""
    settings = {
        "architecture": {"name": "affine", "settings": {"transforms": 2, "width": 16}},
        "optimiser": {"learning_rate": 0.02, "average_decay": 0.98},
    }
    method, generator = build("flow", spec_of(), settings, 0, iterations=500), torch.Generator().manual_seed(0)
    for _ in range(500):
        method.training_step(examples(512, generator), generator)
    return method


def test_maximum_likelihood_ends_at_the_entropy(fitted):
    x = examples(20_000, torch.Generator().manual_seed(1))
    entropy = 1 + np.log(2 * np.pi) + float(ROOT.diagonal().log().sum())
    with torch.no_grad():
        # The least mean energy that there is, and not by being no density.
        assert float(fitted.energy(x).mean()) == pytest.approx(entropy, abs=0.02)
    assert log_partition(lambda x: -on_arrays(fitted.energy, "cpu")(x), (0.7, -0.4), 16.0)[0] == pytest.approx(0, abs=1e-3)


def test_samples_are_those_of_the_data(fitted):
    drawn = fitted.sample(20_000, torch.Generator().manual_seed(2))
    assert drawn.sampler == "flow" and not drawn.sampler_steps and not drawn.gradient_evaluations
    torch.testing.assert_close(drawn.x.mean(0), MEAN, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.x.T.cov(), ROOT @ ROOT.T, atol=0.06, rtol=0)


def test_samples_are_those_of_the_energy(fitted):
    """Latent vectors of samples are standard normal, by the density's own map."""
    x = fitted.sample(4_000, torch.Generator().manual_seed(3)).x
    with torch.no_grad():
        z = fitted.law.latent(x)[0]
    for coordinate in z.numpy().T:
        assert stats.kstest(coordinate, "norm").pvalue > 1e-3


def test_live_weights_and_their_average_begin_where_the_first_batch_is():
    method, generator = build("flow", spec_of((1, 8, 8), "images"), {"batch_size": 64}, 0), torch.Generator().manual_seed(0)
    x = 3 + 0.2 * torch.randn(64, 1, 8, 8, generator=generator)
    before = float(method.energy(x).mean())
    method.training_step(x, generator)
    after = float(method.energy(x).mean())
    # A Gaussian of the batch's own scale in place of the data set's.
    assert after < before - 64
    first = method.law.flow.levels[0].steps[0].shift.clone()
    method.training_step(x + 0.5, generator)
    assert (method.law.flow.levels[0].steps[0].shift - first).abs().max() < 0.1, "only the first batch counts"


def test_what_means_nothing_here_is_refused():
    with pytest.raises(ValueError, match="spectral_norm"):
        build("flow", spec_of(), {"spectral_norm": 1.0})
    with pytest.raises(ValueError, match="takes images"):
        build("flow", spec_of(), {"architecture": {"name": "glow", "settings": {}}})
    with pytest.raises(ValueError, match="cannot train an energy on a box"):
        build("flow", spec_of((1, 8, 8), "images"), {"support": "box"})


def test_a_pass_counts_as_what_it_is_said_to():
    assert build("flow", spec_of(), {"batch_size": 32, "counts_as": 5}).gradient_evaluations_per_step == 160
