"""The convolutional network against one written out, and its settings."""

import pytest
import torch
from torch import nn

from ebmpipe.derivatives import by_forward_laplacian
from ebmpipe.nets.conv import ConvConfig, ConvNet

#: The network of Neklyudov, Jaini & Welling (2021) for MNIST.
PAPER = {"widths": [64] * 4, "whole": True, "dense": 64, "activation": "leaky_relu"}


def network(shape, **settings):
    torch.manual_seed(0)
    return ConvNet(shape, ConvConfig.model_validate(settings)).double()


def points(shape, n=3):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_papers_network_written_out():
    made, x = network((1, 28, 28), **PAPER), points((1, 28, 28))
    stem, *halvings = (layer for layer in made.body if isinstance(layer, nn.Conv2d))
    covering = nn.Conv2d(64, 64, 3, 1, 0).double()
    covering.weight.data, covering.bias.data = made.dense[0].weight.view(64, 64, 3, 3), made.dense[0].bias
    plain = [nn.Conv2d(1, 64, 3, 1, 1), *(nn.Conv2d(64, 64, 4, 2, 1) for _ in range(3))]
    for ours, theirs in zip([stem, *halvings], plain, strict=True):
        theirs.double().load_state_dict(ours.state_dict())
    with torch.no_grad():
        h = x
        for layer in [*plain, covering]:
            h = nn.functional.leaky_relu(layer(h), 0.2)
        torch.testing.assert_close(made(x), made.head(h.flatten(1)).squeeze(1))
    assert sum(p.numel() for p in made.parameters()) == 640 + 3 * 65_600 + 36_928 + 65


@pytest.mark.parametrize(("whole", "side"), [(False, 14), (True, 28)])
def test_a_whole_stem_keeps_the_size(whole, side):
    assert network((1, 28, 28), widths=[4, 5], whole=whole).body[0](points((1, 28, 28))).shape == (3, 4, side, side)


def test_a_network_of_leaky_rectifiers_is_linear_between_its_kinks():
    made, x = network((1, 4, 4), widths=[3, 4], dense=5, activation="leaky_relu"), points((1, 4, 4))
    value, slope, laplacian = by_forward_laplacian(made.layers, x)
    assert not laplacian.any()
    at = (1 + 1e-9) * x
    torch.testing.assert_close(made(at) - value, 1e-9 * (slope * x).flatten(1).sum(1), atol=1e-13, rtol=1e-3)


@pytest.mark.parametrize("setting", [{"dense": 0}, {"activation": "relu"}, {"whole": "maybe"}])
def test_settings_that_are_none_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        ConvConfig.model_validate(setting)
