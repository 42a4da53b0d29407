"""Networks between latent vectors and events: decoders, and encoders that say where in latent space an event may have come from."""

from __future__ import annotations

import itertools
from math import prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.event_map import EventMap, EventMapConfig

#: Sides of images are halved as long as they are even and above this.
COARSEST = 4


class LatentNetworkConfig(EventMapConfig):
    """Kind and size of a decoder or an encoder, and how it is updated."""

    architecture: Literal["perceptron", "conv"] = Field(
        "perceptron", description="a linear map plus a multilayer perceptron; or, of images, residual convolutions at every resolution"
    )
    width: int = Field(256, ge=1, description="units per hidden layer, or channels at the coarsest resolution")
    normalisation: Literal["none", "batch"] = Field(
        "none",
        description="of a decoder's convolutions: batch has the statistics of the batch that is decoded, in training and afterwards alike, "
        "so that what a latent vector becomes depends on the others",
    )


def coarsest(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height and width that images (channels, height, width) are halved to, and how often they are."""
    (height, width), times = shape[1:], 0
    while height % 2 == width % 2 == 0 and min(height, width) > COARSEST:
        height, width, times = height // 2, width // 2, times + 1
    return height, width, times


class BatchStatistics(nn.Module):
    """(x - mean) / deviation of every channel over the batch and the image, times a weight plus another: the same in every mode.

    The released code of Cui & Han (2023) never leaves the training mode of its generator's normalisation; here there is no other, and
    nothing is remembered from batch to batch.

    Args:
        channels: how many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


class Upsampling(nn.Module):
    """Twice the resolution, by nearest neighbours and two 3×3 convolutions, beside a 1×1 convolution of the same.

    Args:
        narrow, wide: channels of output and input.
        config: whether they are normalised.
    """

    def __init__(self, wide: int, narrow: int, config: LatentNetworkConfig) -> None:
        super().__init__()

        def normalised(channels: int) -> nn.Module:
            return BatchStatistics(channels) if config.normalisation == "batch" else nn.Identity()

        self.upsample = nn.Upsample(scale_factor=2)
        self.body = nn.Sequential(
            normalised(wide),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(wide, narrow, 3, 1, 1),
            normalised(narrow),
            nn.SiLU(),
            nn.Conv2d(narrow, narrow, 3, 1, 1),
        )
        self.beside = nn.Conv2d(wide, narrow, 1)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.body(x) + self.beside(self.upsample(x))
        return value


def channels_at(config: LatentNetworkConfig, halvings: int) -> int:
    """Channels at a resolution that is halved ``halvings`` times from the coarsest upwards: half as many with each doubling, at least 8."""
    return max(min(config.width, 8), config.width >> halvings)


class ConvDecoder(nn.Module):
    """Latent vectors to images: a linear map to the coarsest resolution, then `Upsampling`, with half of the channels each time.

    Args:
        latent: numbers in a latent vector.
        shape: (channels, height, width).
        config: its size.
    """

    def __init__(self, latent: int, shape: tuple[int, ...], config: LatentNetworkConfig) -> None:
        super().__init__()
        height, width, times = coarsest(shape)
        self.start = (config.width, height, width)
        self.linear = nn.Linear(latent, prod(self.start))
        sizes = [channels_at(config, index) for index in range(times + 1)]
        self.body = nn.Sequential(*(Upsampling(a, b, config) for a, b in itertools.pairwise(sizes)))
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(sizes[-1], shape[0], 3, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent) to (n, *event)."""
        value: Tensor = self.head(self.body(self.linear(z).view(-1, *self.start)))
        return value


class ConvEncoder(nn.Module):
    """Images to pairs of latent vectors: a 3×3 convolution, 4×4 ones of stride 2 with twice the channels each, and a linear map.

    Args:
        shape: (channels, height, width).
        latent: numbers in a latent vector.
        config: its size; its width is that of the coarsest resolution.
    """

    def __init__(self, shape: tuple[int, ...], latent: int, config: LatentNetworkConfig) -> None:
        super().__init__()
        height, width, times = coarsest(shape)
        sizes = [channels_at(config, index) for index in reversed(range(times + 1))]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], sizes[0], 3, 1, 1), nn.SiLU()]
        for narrow, wide in itertools.pairwise(sizes):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.SiLU()]
        self.body, self.latent = nn.Sequential(*layers), latent
        self.head = nn.Linear(sizes[-1] * height * width, 2 * latent)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *event) to (n, 2, latent)."""
        value: Tensor = self.head(self.body(x).flatten(1))
        return value.view(-1, 2, self.latent)


def build_decoder(latent: int, shape: tuple[int, ...], config: LatentNetworkConfig) -> nn.Module:
    """A decoder (n, latent) -> (n, *event), weights from torch's global stream.

    Raises:
        ValueError: if convolutions are asked for where events are no images.
    """
    if config.architecture == "perceptron":
        return EventMap(latent, shape, config)
    check_images(shape)
    return ConvDecoder(latent, shape, config)


def build_encoder(shape: tuple[int, ...], latent: int, config: LatentNetworkConfig) -> nn.Module:
    """An encoder (n, *event) -> (n, 2, latent), mean and logarithm of the variance; weights from torch's global stream.

    Raises:
        ValueError: as `build_decoder`.
    """
    if config.architecture == "perceptron":
        return EventMap(prod(shape), (2, latent), config)
    check_images(shape)
    return ConvEncoder(shape, latent, config)


def check_images(shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``shape`` is that of images."""
    if len(shape) != 3:
        raise ValueError(f"convolutions are for images, and events here have shape {shape}: set `architecture: perceptron`")
