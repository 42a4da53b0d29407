"""A small autoencoder of a data set's own images, which needs no labels; its bottleneck is the feature space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.data.prepared import Prepared
from ebmpipe.features.choosing import Labelling
from ebmpipe.features.trained import Standardised, TrainedNetwork, dequantised


class Autoencoder(Standardised):
    """Two strided convolutions and a linear layer to the bottleneck, and the same way back.

    The bottleneck has no activation, so that no feature is constant over the data.

    Args:
        shape: event shape, (channels, height, width).
        dimension: number of features.
    """

    def __init__(self, shape: tuple[int, ...], dimension: int) -> None:
        channels, height, width = shape
        small = (-(-height // 4), -(-width // 4))
        body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(64 * small[0] * small[1], dimension),
        )  # fmt: skip
        super().__init__(body, dimension)
        self.decoder = nn.Sequential(
            nn.Linear(dimension, 64 * small[0] * small[1]), nn.SiLU(), nn.Unflatten(1, (64, *small)),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction, (n, *shape) in model space."""
        reconstruction: Tensor = self.decoder(self.body(x))
        # Sizes that four does not divide were rounded up on the way.
        return reconstruction[..., : x.shape[-2], : x.shape[-1]]


class AutoencoderFeatures(TrainedNetwork):
    """The bottleneck of an autoencoder (Hinton & Salakhutdinov 2006): what of an image the images themselves teach.

    Beside dequantisation no noise is added to its input: taught to take noise off, it would not see the noise of samples.
    """

    name = "autoencoder"
    revision = 1
    title = "autoencoder of the data set's own images, 32 features"
    takes: ClassVar[frozenset[Labelling]] = frozenset({"labelled", "unlabelled"})
    default_on: ClassVar[frozenset[Labelling]] = frozenset({"unlabelled"})
    dimension = 32
    settings: ClassVar[dict[str, Any]] = {"batch": 128, "steps": 1000, "epochs": 3, "learning_rate": 3e-3, "weight_decay": 0.01}

    def network(self, shape: tuple[int, ...], classes: int | None) -> Autoencoder:
        return Autoencoder(shape, self.dimension)

    def loss(self, network: Autoencoder, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Mean square over pixels of what is left between an image and its reconstruction."""
        return functional.mse_loss(network(x), x)

    def quality(self, network: Autoencoder, data: Prepared) -> dict[str, Any]:
        """Mean square error per pixel of each split's reconstruction, and of the training split's mean image in its place."""
        total, count = torch.zeros(data.spec.shape), 0
        for part in dequantised(data, "train"):
            total, count = total + part.sum(0), count + len(part)
        mean = total / count

        def error(split: str, guess: Any) -> float:
            errors = torch.cat([((guess(part) - part) ** 2).flatten(1).mean(1) for part in dequantised(data, split)])
            return float(errors.double().mean())

        splits = ("train", "validation", "test")
        return {
            "reconstruction_error": {split: error(split, network) for split in splits},
            "mean_image_error": {split: error(split, lambda part: mean) for split in splits},
        }

    def told(self, card: Mapping[str, Any]) -> str:
        mine, trivial = (card[key]["test"] for key in ("reconstruction_error", "mean_image_error"))
        return f"test reconstruction error {mine:.4f}, {trivial:.4f} of the mean image"
