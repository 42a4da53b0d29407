"""A small classifier of a data set's own images; its last hidden layer is the space of ``frechet_lenet`` and ``kernel_lenet``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.data.prepared import Prepared
from ebmpipe.features.choosing import Labelling
from ebmpipe.features.trained import Standardised, TrainedNetwork, dequantised
from ebmpipe.tensors import shared


class LeNet(Standardised):
    """Two convolutions, each halved by pooling, and two linear layers (LeCun et al. 1998, with ReLU and padding).

    The features are the inputs of the last activation: before it they are closer to the Gaussians that the Fréchet distance compares than
    after, and no unit is constant over the data.

    Args:
        shape: event shape, (channels, height, width).
        classes: number of classes.
        dimension: number of features.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, dimension: int) -> None:
        channels, height, width = shape
        body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), dimension),
        )  # fmt: skip
        super().__init__(body, dimension)
        self.head = nn.Linear(dimension, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, classes)."""
        logits: Tensor = self.head(functional.relu(self.body(x)))
        return logits


class LeNetFeatures(TrainedNetwork):
    """The last hidden layer of a classifier that knows the labels, and nothing but the data set itself."""

    name = "lenet"
    revision = 1
    title = "classifier of the data set's own images, 32 features"
    takes: ClassVar[frozenset[Labelling]] = frozenset({"labelled"})
    default_on: ClassVar[frozenset[Labelling]] = frozenset({"labelled"})
    dimension = 32
    settings: ClassVar[dict[str, Any]] = {"batch": 128, "steps": 600, "epochs": 3, "learning_rate": 3e-3, "weight_decay": 0.1}

    def network(self, shape: tuple[int, ...], classes: int | None) -> LeNet:
        assert classes is not None, "applies to labelled images only"
        return LeNet(shape, classes, self.dimension)

    def loss(self, network: LeNet, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Cross-entropy of the labels."""
        assert labels is not None, "applies to labelled images only"
        return functional.cross_entropy(network(x), labels)

    def quality(self, network: LeNet, data: Prepared) -> dict[str, Any]:
        """Share of each split that is classified rightly."""

        def accuracy(split: str) -> float:
            guessed = torch.cat([network(part).argmax(1) for part in dequantised(data, split)])
            return float((guessed == shared(data.labels(split))).double().mean())

        return {"accuracy": {split: accuracy(split) for split in ("train", "validation", "test")}}

    def told(self, card: Mapping[str, Any]) -> str:
        return f"test accuracy {card['accuracy']['test']:.4f}"
