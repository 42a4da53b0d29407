"""Reconstructions: of a linear generator, whose posterior is a known Gaussian; and what is said of them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from generators import given_back
from torch import nn

from ebmpipe.latent_codes import LatentCodes
from ebmpipe.latent_variable import LatentVariableLaw
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.metrics.reconstruction import DRAWS, EXAMPLES, Reconstruction
from ebmpipe.reconstructing import reconstructor
from ebmpipe.samplers.mala import MALA
from ebmpipe.scored import Scored
from ebmpipe.spec import DataSpec

SHAPES = [(3,), (1, 2, 3)]
NOISE, MEAN, STD, LATENT = 0.6, 0.4, 1.7, 2


class Linear(nn.Module):
    """g(z) = Az."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.matrix = torch.randn(math.prod(shape), LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def forward(self, z):
        return (z @ self.matrix.T).view(-1, *self.shape)


class Exact(nn.Module):
    """The mean of the posterior, and a variance that nothing here looks at."""

    def __init__(self, decoder):
        super().__init__()
        a = decoder.matrix
        self.gain = torch.linalg.solve(a.T @ a + NOISE**2 * torch.eye(LATENT, dtype=a.dtype), a.T)

    def forward(self, y):
        mean = y.flatten(1) @ self.gain.T
        return torch.stack([mean, torch.zeros_like(mean)], dim=1)


def made(shape, steps=10, infers=True, n=400):
    """A reconstructor of the linear generator, its law, and the test split in its order."""
    spec = DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, MEAN, STD, None, None, None, None)
    decoder = Linear(shape)
    law = LatentVariableLaw(decoder, Exact(decoder), LATENT, NOISE, spec).double().requires_grad_(False)
    test = law.carried(torch.randn(n, law.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).numpy()
    codes = LatentCodes(law, MALA(0.3), steps, infers)
    return reconstructor(Scored({}, "", latent_codes=codes, seed=3), test, "cpu"), law, test[reference_order("test", n)]


@pytest.mark.parametrize("shape", SHAPES)
class TestALinearGenerator:
    def test_the_inference_model_s_mean_is_decoded(self, shape):
        reconstruct, law, test = made(shape)
        found = reconstruct(50)
        np.testing.assert_allclose(found.clean, test[:50])
        y = ((test[:50] - MEAN) / STD).reshape(50, -1)
        a, gain = law.decoder.matrix.numpy(), law.encoder.gain.numpy()
        np.testing.assert_allclose(found.inferred.reshape(50, -1), MEAN + STD * y @ gain.T @ a.T, rtol=1e-6)

    @pytest.mark.parametrize("infers", [True, False])
    def test_chains_come_to_the_posterior_s_error_from_either_start(self, shape, infers):
        reconstruct, law, test = made(shape, infers=infers)
        found = reconstruct(400)
        a = law.decoder.matrix.numpy()
        covariance = np.linalg.inv(np.eye(LATENT) + a.T @ a / NOISE**2)
        y = ((test - MEAN) / STD).reshape(400, -1)
        bias = y - y @ law.encoder.gain.numpy().T @ a.T
        expected = STD**2 * (np.mean(bias**2) + np.trace(a @ covariance @ a.T) / y.shape[1])
        assert found.profile.shape == (1 + infers, len(found.steps))
        if infers:  # chains that begin at the posterior's mean have its law, nearly, after ten steps
            of_draw, of_mean = ((STD * part).mean() for part in (np.trace(a @ covariance @ a.T) / y.shape[1] * STD, bias**2 * STD))
            assert np.mean((found.averaged - found.clean) ** 2) == pytest.approx(of_mean + of_draw / DRAWS, rel=0.1)
        np.testing.assert_allclose(found.profile[:, -1], expected, rtol=0.08)
        # At first: codes of the prior know nothing of their example; the inference model's are the best there are.
        assert found.profile[0, 0] > 2 * expected
        if infers:
            assert found.profile[1, 0] == pytest.approx(STD**2 * np.mean(bias**2)) == pytest.approx(np.mean((found.inferred - test) ** 2))
        else:
            assert found.inferred is None

    def test_what_is_called_revised_took_as_many_steps_as_training_does(self, shape):
        for steps in (0, 7, 13):
            found = made(shape, steps)[0](60)
            assert found.training_steps == steps and steps in found.steps
            at = int(np.flatnonzero(found.steps == steps)[0])
            assert np.mean((found.revised - found.clean) ** 2) == pytest.approx(found.profile[-1, at])

    def test_ways_between_codes_begin_and_end_at_what_became_of_examples(self, shape):
        found = made(shape)[0](60)
        np.testing.assert_allclose(found.between[:, 0], found.revised[:8:2], rtol=1e-6)
        np.testing.assert_allclose(found.between[:, -1], found.revised[1:8:2], rtol=1e-6)
        # Of a linear generator they are straight.
        np.testing.assert_allclose(found.between[:, 4], found.between[:, [0, -1]].mean(axis=1), rtol=1e-6)


def test_without_a_generator_nothing_is_said():
    assert reconstructor(Scored({}, ""), np.zeros((5, 2)), "cpu") is None
    without = SimpleNamespace(reconstructed=None)
    assert Reconstruction().reports(without) == () and list(Reconstruction().compute(without)) == []


@pytest.mark.parametrize("infers", [True, False])
@pytest.mark.parametrize("kind", ["plane", "pictures"])
def test_the_rows(kind, infers, request):
    evaluation = request.getfixturevalue(kind)()
    object.__setattr__(evaluation, "reconstructed", given_back(evaluation.spec.shape, infers))
    rows = {row.metric: row for row in Reconstruction().compute(evaluation)}
    assert set(rows) == set(Reconstruction().reports(evaluation)) and len(rows) == (3 if kind == "plane" else 9)
    # Pixels of [-1, 1] are in [0, 1] here: half as far, a quarter of the squares.
    scale = 1 if kind == "plane" else 4
    assert rows["reconstruction_mse@averaged"].value == pytest.approx(0.0025 / scale)
    assert rows["reconstruction_mse"].value == pytest.approx(0.01 / scale) and rows["reconstruction_mse"].n == EXAMPLES
    if kind == "pictures":
        assert rows["reconstruction_psnr"].value == pytest.approx(-10 * math.log10(0.01 / 4))
        assert 0 < rows["reconstruction_ssim"].value < 1
    for metric, row in rows.items():
        if metric.endswith("@inferred"):
            assert row.value == pytest.approx(0.04 / scale) if infers and "mse" in metric else (row.value is None) != infers
    assert {"reconstruction/profile", "reconstruction/between", "reconstruction/training_steps"} <= set(evaluation.drawn)
    assert ("reconstruction/inferred" in evaluation.drawn) == infers
    assert [row.metric for row in Reconstruction().unavailable("so", evaluation)] == list(Reconstruction().reports(evaluation))
