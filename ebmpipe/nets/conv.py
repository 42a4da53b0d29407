"""A small convolutional energy network."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.activations import ACTIVATIONS
from ebmpipe.nets.base import HeadedNetwork, NetworkSettings
from ebmpipe.nets.stem import Stem, Width
from ebmpipe.spec import Kind


class ConvConfig(NetworkSettings):
    """Settings of `ConvNet`."""

    widths: tuple[Width, ...] = Field((32, 64, 128), min_length=1, description="channels after the stem and after each halving")
    whole: bool = Field(
        False, description="the stem lets images of 16 pixels or more keep their size too: four times the pixels in all that follows"
    )
    dense: int | None = Field(None, ge=1, description="units of a hidden layer on what the convolutions leave; null: there is none")
    activation: Literal["silu", "leaky_relu"] = Field(
        "silu",
        description="between all layers; second derivatives of leaky_relu are zero, so that (sliced) score matching refuses it",
    )


class ConvNet(HeadedNetwork):
    """Stem, then 4×4 convolutions of stride 2, an activation after each, and a linear head on what is left.

    The stem halves images of 16 pixels or more; smaller ones keep their size there. With ``whole: true``, ``dense: 64``, widths of 64 and
    ``activation: leaky_relu`` it is the network of Neklyudov, Jaini & Welling (2021) for MNIST, whose last convolution covers all 3×3
    pixels that are left, and is the dense layer here.
    """

    name = "conv"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"images"})
    Config = ConvConfig

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings, classes: int | None = None) -> None:
        super().__init__(shape, config, classes)
        assert isinstance(config, ConvConfig)
        activation = ACTIVATIONS[config.activation]
        layers: list[nn.Module] = [Stem.of(shape, config.widths[0], config.whole), activation()]
        for narrow, wide in zip(config.widths, config.widths[1:], strict=False):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), activation()]
        self.body = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            features = self.body(torch.zeros(1, *shape)).numel()
        if not features:
            raise ValueError(f"conv has too many widths for images of shape {shape}: {config.widths}")
        self.dense = nn.Sequential() if config.dense is None else nn.Sequential(nn.Linear(features, config.dense), activation())
        self.head = nn.Linear(config.dense or features, self.outputs)

    def features(self, x: Tensor) -> Tensor:
        flat: Tensor = self.dense(self.body(x).flatten(1))
        return flat

    @property
    def layers(self) -> list[nn.Module]:
        return [*self.body, nn.Flatten(), *self.dense, self.head]
