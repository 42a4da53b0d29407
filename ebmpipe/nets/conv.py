"""A small convolutional energy network."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.activations import SiLU
from ebmpipe.nets.base import HeadedNetwork, NetworkSettings
from ebmpipe.nets.stem import Stem, Width
from ebmpipe.spec import Kind


class ConvConfig(NetworkSettings):
    """Settings of `ConvNet`."""

    widths: tuple[Width, ...] = Field((32, 64, 128), min_length=1, description="channels after the stem and after each halving")


class ConvNet(HeadedNetwork):
    """Stem, then 4×4 convolutions of stride 2 that double the channels, SiLU between, and a linear head on what is left.

    The stem halves images of 16 pixels or more; smaller ones keep their size there.
    """

    name = "conv"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"images"})
    Config = ConvConfig

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings, classes: int | None = None) -> None:
        super().__init__(shape, config, classes)
        assert isinstance(config, ConvConfig)
        layers: list[nn.Module] = [Stem.of(shape, config.widths[0]), SiLU()]
        for narrow, wide in zip(config.widths, config.widths[1:], strict=False):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), SiLU()]
        self.body = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            features = self.body(torch.zeros(1, *shape)).numel()
        if not features:
            raise ValueError(f"conv has too many widths for images of shape {shape}: {config.widths}")
        self.head = nn.Linear(features, self.outputs)

    def features(self, x: Tensor) -> Tensor:
        flat: Tensor = self.body(x).flatten(1)
        return flat

    @property
    def layers(self) -> list[nn.Module]:
        return [*self.body, nn.Flatten(), self.head]
