"""A small convolutional energy network."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.nets.base import EnergyNetwork, NetworkSettings
from ebmpipe.spec import Kind


class ConvConfig(NetworkSettings):
    """Settings of `ConvNet`."""

    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1, description="channels after the stem and after each halving")


class Stem(nn.Conv2d):
    """A convolution computed as unfold + matrix product.

    The same function of the same weights as ``nn.Conv2d``, but several times faster on a CPU for one or three input
    channels, where the direct kernels are starved.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of ``x``, (n, out, height', width') in channels-last layout."""
        size, stride, padding = self.kernel_size[0], self.stride[0], self.padding[0]
        assert isinstance(padding, int)
        height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[2:])
        patches = functional.unfold(x, size, padding=padding, stride=stride).transpose(1, 2)
        out = functional.linear(patches, self.weight.flatten(1), self.bias)
        return out.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2)


class ConvNet(EnergyNetwork):
    """Stem, then 4×4 convolutions of stride 2 that double the channels, SiLU between, and a linear head on what is left.

    The stem halves images of 16 pixels or more; smaller ones keep their size there.
    """

    name = "conv"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"images"})
    Config = ConvConfig

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings) -> None:
        super().__init__(shape, config)
        assert isinstance(config, ConvConfig)
        channels, height, width = shape
        stem = (4, 2, 1) if min(height, width) >= 16 else (3, 1, 1)
        layers: list[nn.Module] = [Stem(channels, config.widths[0], *stem), nn.SiLU()]
        for narrow, wide in zip(config.widths, config.widths[1:], strict=False):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.SiLU()]
        self.body = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            features = self.body(torch.zeros(1, *shape)).numel()
        if not features:
            raise ValueError(f"conv has too many widths for images of shape {shape}: {config.widths}")
        self.head = nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """f(x), shape (n,)."""
        value: Tensor = self.head(self.body(x).flatten(1)).squeeze(1)
        return value
