"""A small classifier of a data set's own images; its last hidden layer is the space of ``frechet_lenet`` and ``kernel_lenet``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.data.prepared import Prepared, to_model_space
from ebmpipe.features.base import read_network, write_network
from ebmpipe.seeding import derive, numpy_generator, torch_generator

#: Bumped when the same data and seed would give other features.
REVISION = 1

#: How it is trained. Recorded in lenet.json.
SETTINGS: dict[str, Any] = {"batch": 128, "steps": 600, "epochs": 3, "learning_rate": 3e-3, "weight_decay": 0.1}

#: Images per call when features are computed.
CHUNK = 128


class LeNet(nn.Module):
    """Two convolutions, each halved by pooling, and two linear layers (LeCun et al. 1998, with ReLU and padding).

    The features are the `dimension` inputs of the last activation: before it they are closer to the Gaussians that the Fréchet distance
    compares than after, and no unit is constant over the data. Each is standardised on the training split, so that distances do not
    depend on how long the classifier was trained.

    Args:
        shape: event shape, (channels, height, width).
        classes: number of classes.
    """

    name: ClassVar[str] = "lenet"
    dimension: ClassVar[int] = 32

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), self.dimension),
        )  # fmt: skip
        self.head = nn.Linear(self.dimension, classes)
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(self.dimension))
        self.register_buffer("scale", torch.ones(self.dimension))

    def features(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) in model space -> (n, dimension)."""
        standardised: Tensor = (self.body(x) - self.centre) / self.scale
        return standardised

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, classes)."""
        logits: Tensor = self.head(functional.relu(self.body(x)))
        return logits


def train_extractor(prepared_folder: Path, out: Path, seed: int) -> dict[str, Any]:
    """Train LeNet on a prepared data set, with every batch dequantised afresh as for the models that it will judge.

    Args:
        prepared_folder: what `ebmpipe prepare` wrote.
        out: where to write ``lenet.safetensors`` and ``lenet.json``.
        seed: root seed of weights, batches and noise.

    Returns:
        The card, as written to ``lenet.json``: accuracy by split, dimension, checksum of the weights, settings, seconds.

    Raises:
        ValueError: if the data are not labelled images.
    """
    start = time.perf_counter()
    data = Prepared(prepared_folder)
    spec = data.spec
    if spec.kind != "images" or spec.levels is None or spec.classes is None:
        raise ValueError(f"a feature network is trained on labelled images; {spec.name} has none")
    images, labels = torch.from_numpy(data.split("train")), torch.from_numpy(data.labels("train"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "features", "init"))
        network = LeNet(spec.shape, spec.classes)
    steps = max(SETTINGS["steps"], SETTINGS["epochs"] * len(images) // SETTINGS["batch"])
    optimiser = torch.optim.AdamW(network.parameters(), lr=SETTINGS["learning_rate"], weight_decay=SETTINGS["weight_decay"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    generator = torch_generator(seed, "features", "batches")
    for _ in range(steps):
        chosen = torch.randint(len(images), (SETTINGS["batch"],), generator=generator)
        noise = torch.rand((len(chosen), *spec.shape), generator=generator)
        loss = functional.cross_entropy(network(to_model_space(images[chosen], spec.levels, noise)), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.requires_grad_(False)
    accuracy = {split: _accuracy(network, data, split) for split in ("train", "validation", "test")}
    features = torch.cat([network.features(part) for part in _dequantised(data, "train")])
    network.centre, network.scale = features.mean(0), features.std(0).clamp_min(1e-6)
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    about = {
        "revision": REVISION,
        "dataset": spec.name,
        "data_sha256": data.card["data_sha256"],
        "shape": list(spec.shape),
        "classes": spec.classes,
        "dimension": LeNet.dimension,
        "accuracy": accuracy,
        "settings": {**SETTINGS, "steps": steps, "seed": seed},
        "seconds": round(time.perf_counter() - start, 3),
    }
    return write_network(out, LeNet.name, weights, about)


def load_extractor(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The features of a trained LeNet: (n, *shape) in model space -> (n, dimension) float64.

    Raises:
        ValueError: if the weights are missing or are not those that the card describes.
    """
    weights, about = read_network(folder, LeNet.name)
    shape = tuple(about["shape"])
    # In double precision, features do not depend on how the images are batched, nor noticeably on the machine.
    network = LeNet(shape, about["classes"]).double().eval().requires_grad_(False)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})

    def extract(x: np.ndarray) -> np.ndarray:
        if x.shape[1:] != shape:
            raise ValueError(f"these features are of events of shape {shape}, not {x.shape[1:]}")
        parts = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64)).split(CHUNK)
        return torch.cat([network.features(part) for part in parts]).numpy()

    return extract


def _dequantised(data: Prepared, split: str) -> tuple[Tensor, ...]:
    """A split in model space, in chunks."""
    x = torch.from_numpy(data.model_space(split, numpy_generator(0, "features", split)))
    return tuple(x.float().split(CHUNK))


def _accuracy(network: LeNet, data: Prepared, split: str) -> float:
    """Share of a dequantised split that is classified rightly."""
    guessed = torch.cat([network(part).argmax(1) for part in _dequantised(data, split)])
    return float((guessed == torch.from_numpy(data.labels(split))).double().mean())
