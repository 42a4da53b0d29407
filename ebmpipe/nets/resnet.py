"""A small residual energy network for images."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.nets.base import HeadedNetwork, NetworkSettings
from ebmpipe.nets.stem import Stem, Width
from ebmpipe.spec import Kind

#: Factor on the initial weights of the last convolution of each block: a deep network begins close to a shallow one, and trains as well.
LAST = 0.1


class ResNetConfig(NetworkSettings):
    """Settings of `ResNet`."""

    widths: tuple[Width, ...] = Field((32, 64, 128), min_length=1, description="channels after the stem and after each halving")
    blocks: int = Field(1, ge=1, description="residual blocks at each resolution")


def halved(x: Tensor) -> Tensor:
    """``x`` (n, channels, height, width) averaged over squares of two by two pixels; those on an odd border over what there is."""
    return functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


class Block(nn.Module):
    """x + W₂ * SiLU(W₁ * SiLU(x)) with 3×3 convolutions, then halved if so asked; the skip is a 1×1 convolution where widths differ.

    There is no normalisation layer: it would make the energy of one example depend on others, or change its scale.

    Args:
        narrow: channels of the input.
        wide: channels of the output.
        halves: whether the output has half as many pixels on each side.
    """

    def __init__(self, narrow: int, wide: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.first = nn.Conv2d(narrow, wide, 3, padding=1)
        self.second = nn.Conv2d(wide, wide, 3, padding=1)
        self.skip = nn.Conv2d(narrow, wide, 1) if narrow != wide else nn.Identity()
        with torch.no_grad():
            self.second.weight.mul_(LAST)
            self.second.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """(n, narrow, height, width) -> (n, wide, height', width')."""
        inside: Tensor = self.second(functional.silu(self.first(functional.silu(x))))
        if not self.halves:
            result: Tensor = self.skip(x) + inside
            return result
        # The skip has one tap, so that it commutes with averaging and is cheaper after it.
        result = self.skip(halved(x)) + halved(inside)
        return result


class ResNet(HeadedNetwork):
    """Stem, residual blocks with SiLU and average pooling between resolutions, and a linear head on what is left.

    A smooth, small relative of the residual networks of Du & Mordatch (2019) and Nijkamp et al. (2019). The first block of each resolution
    but the first halves the image and widens it.
    """

    name = "resnet"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"images"})
    Config = ResNetConfig

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings, classes: int | None = None) -> None:
        super().__init__(shape, config, classes)
        assert isinstance(config, ResNetConfig)
        layers: list[nn.Module] = [Stem.of(shape, config.widths[0])]
        narrow = config.widths[0]
        for index, wide in enumerate(config.widths):
            for block in range(config.blocks):
                layers.append(Block(narrow, wide, halves=block == 0 and index > 0))
                narrow = wide
        self.body = nn.Sequential(*layers, nn.SiLU()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            features = self.body(torch.zeros(1, *shape)).numel()
        self.head = nn.Linear(features, self.outputs)

    def features(self, x: Tensor) -> Tensor:
        flat: Tensor = self.body(x).flatten(1)
        return flat
