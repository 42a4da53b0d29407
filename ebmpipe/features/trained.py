"""Feature networks that are trained on the images of the data set itself: the training loop and what becomes of the weights."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ebmpipe.data.prepared import Prepared, to_model_space
from ebmpipe.features.base import FeatureNetwork, FeatureSpace, read_network, write_network
from ebmpipe.seeding import derive, numpy_generator, torch_generator
from ebmpipe.tensors import shared

#: Images per call when features are computed.
CHUNK = 128


class Standardised(nn.Module):
    """A network with a bottleneck. Its features are the bottleneck's values, each standardised on the training split: so distances do not
    depend on how long it was trained.

    Args:
        body: (n, channels, height, width) in model space -> (n, dimension).
        dimension: width of the bottleneck.
    """

    def __init__(self, body: nn.Module, dimension: int) -> None:
        super().__init__()
        self.body = body
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))

    def features(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) in model space -> (n, dimension)."""
        standardised: Tensor = (self.body(x) - self.centre) / self.scale
        return standardised


class TrainedNetwork(FeatureNetwork):
    """A network trained on the training split, with every batch dequantised afresh as for the models that it will judge.

    Attributes:
        dimension: number of features.
        settings: how it is trained; recorded in the card. ``steps`` is the least number of updates, ``epochs`` of passes.
    """

    dimension: ClassVar[int]
    settings: ClassVar[dict[str, Any]]

    @abstractmethod
    def network(self, shape: tuple[int, ...], classes: int | None) -> Standardised:
        """A new network with random weights.

        Args:
            shape: event shape, (channels, height, width).
            classes: number of classes, None if unlabelled.
        """

    @abstractmethod
    def loss(self, network: Any, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """What an update lowers, on images (n, *shape) in model space and their labels (n,), where there are any."""

    @abstractmethod
    def quality(self, network: Any, data: Prepared) -> dict[str, Any]:
        """What the card says of how well it learnt, by split."""

    def make(self, prepared_folder: Path, out: Path, seed: int) -> dict[str, Any]:
        start = time.perf_counter()
        data = Prepared(prepared_folder)
        spec, levels = data.spec, data.spec.levels
        if levels is None or not self.applies(spec):
            kinds = "images" if len(self.takes) > 1 else f"{min(self.takes)} images"
            raise ValueError(f"{self.name} is trained on {kinds}; {spec.name} has none")
        images = shared(data.split("train"))
        labels = None if spec.classes is None else shared(data.labels("train"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "features", "init"))
            network = self.network(spec.shape, spec.classes)
        settings = self.settings
        steps = max(settings["steps"], settings["epochs"] * len(images) // settings["batch"])
        optimiser = torch.optim.AdamW(network.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
        generator = torch_generator(seed, "features", "batches")
        for _ in range(steps):
            chosen = torch.randint(len(images), (settings["batch"],), generator=generator)
            noise = torch.rand((len(chosen), *spec.shape), generator=generator)
            x = to_model_space(images[chosen], levels, noise)
            loss = self.loss(network, x, None if labels is None else labels[chosen], generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        network.requires_grad_(False)
        quality = self.quality(network, data)
        features = torch.cat([network.features(part) for part in dequantised(data, "train")])
        network.centre, network.scale = features.mean(0), features.std(0).clamp_min(1e-6)
        about = {
            "revision": self.revision,
            "dataset": spec.name,
            "data_sha256": data.card["data_sha256"],
            "shape": list(spec.shape),
            "classes": spec.classes,
            "dimension": self.dimension,
            **quality,
            "settings": {**settings, "steps": steps, "seed": seed},
            "seconds": round(time.perf_counter() - start, 3),
        }
        return write_network(out, self.name, {key: value.numpy() for key, value in network.state_dict().items()}, about)

    def load(self, folder: Path) -> FeatureSpace:
        weights, about = read_network(folder, self.name)
        network = restored(self.network, weights, about)
        shape = tuple(about["shape"])

        def extract(x: np.ndarray) -> np.ndarray:
            if x.shape[1:] != shape:
                raise ValueError(f"these features are of events of shape {shape}, not {x.shape[1:]}")
            starts = range(0, max(len(x), 1), CHUNK)
            parts = (torch.from_numpy(np.array(x[i : i + CHUNK], dtype=np.float64, order="C")) for i in starts)
            return torch.cat([network.features(part) for part in parts]).numpy()

        preprocessing = "images as they are: not resized, clipped or quantised"
        return FeatureSpace(self.name, self.dimension, about["weights_sha256"], preprocessing, extract)


def restored(make: Any, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Any:
    """A trained network as its weights and card describe it, in double precision: there features do not depend on how the images are
    batched, nor noticeably on the machine."""
    with torch.random.fork_rng(devices=[]):
        network = make(tuple(about["shape"]), about["classes"])
    network = network.double().eval().requires_grad_(False)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return network


def dequantised(data: Prepared, split: str) -> Iterator[Tensor]:
    """A split in model space, in chunks, with the same noise whenever it is asked for."""
    for part in data.in_parts(split, numpy_generator(0, "features", split), CHUNK):
        yield torch.from_numpy(part).float()
