"""Decoders and encoders of every size of image: shapes, resolutions, and normalisation that knows no mode."""

import pytest
import torch

from ebmpipe.latent_networks import COARSEST, LatentNetworkConfig, build_decoder, build_encoder, coarsest

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 7, 5), (3, 12, 20)]


@pytest.mark.parametrize("architecture", ["perceptron", "conv"])
@pytest.mark.parametrize("shape", SHAPES)
def test_they_go_there_and_back(architecture, shape):
    config = LatentNetworkConfig(architecture=architecture, width=16)
    z = torch.randn(3, 5)
    x = build_decoder(5, shape, config)(z)
    assert x.shape == (3, *shape)
    assert build_encoder(shape, 5, config)(x).shape == (3, 2, 5)


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 28, 28), (7, 7, 2)), ((3, 64, 64), (4, 4, 4)), ((1, 8, 8), (4, 4, 1)), ((1, 7, 5), (7, 5, 0))]
)
def test_the_coarsest_resolution(shape, expected):
    assert coarsest(shape) == expected
    assert min(expected[:2]) >= COARSEST


def test_a_pixel_depends_on_every_latent_number():
    decoder = build_decoder(4, (1, 28, 28), LatentNetworkConfig(architecture="conv", width=16)).double()
    jacobian = torch.autograd.functional.jacobian(lambda z: decoder(z[None]).flatten(), torch.randn(4, dtype=torch.float64))
    assert (jacobian.abs().amax(1) > 0).all()


def test_statistics_are_those_of_the_batch_in_every_mode():
    config = LatentNetworkConfig(architecture="conv", width=16, normalisation="batch")
    decoder, z = build_decoder(4, (1, 8, 8), config), torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    trained = decoder(z)
    torch.testing.assert_close(decoder.eval()(z), trained)
    assert not torch.allclose(decoder(z[:3]), trained[:3]), "what else is decoded counts"
    torch.testing.assert_close(decoder(z.flip(0)), trained.flip(0), atol=1e-5, rtol=1e-5)
    assert not list(decoder.buffers()), "and nothing is remembered"
    plain = build_decoder(4, (1, 8, 8), LatentNetworkConfig(architecture="conv", width=16))
    torch.testing.assert_close(plain(z[:3]), plain(z)[:3], atol=1e-6, rtol=1e-5)


def test_convolutions_of_vectors_are_refused():
    for build in (lambda config: build_decoder(2, (5,), config), lambda config: build_encoder((5,), 2, config)):
        with pytest.raises(ValueError, match="architecture: perceptron"):
            build(LatentNetworkConfig(architecture="conv"))
