"""Examples and themselves with noise, told by their energies: what losses f(E(x') - E(x)) of the two share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.flips import flipped
from ebmpipe.methods.base import ByKind, EnergyMethod

#: A standard deviation of noise, in units of the data's.
Scale = Annotated[float, Field(gt=0)]


class NeighboursConfig(MethodConfig):
    """Settings of `Neighbours`."""

    scales: tuple[Scale, ...] = Field(
        (0.3, 1.0),
        min_length=1,
        description="standard deviations of the noise, in units of the data's; each example draws one of them; of no use on binary data, "
        "of which one coordinate is flipped",
    )


class Neighbours(EnergyMethod):
    """A method whose loss compares each example with its neighbour x', itself with Gaussian noise; of states, with one coordinate flipped.

    The law of x' given x is symmetric in the two, so that its density cancels, as do Z and any constant of E.
    """

    Config = NeighboursConfig
    config: NeighboursConfig
    supports = frozenset({"space"})  # noise that leaves the box would be told from data by that alone
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"data_noise": 0.3}}

    @staticmethod
    @abstractmethod
    def loss(here: Tensor, there: Tensor, /) -> Tensor:
        """The loss of each example, (n,), from E at it and E at its neighbour, (n,) both, in nats."""

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and its neighbour once."""
        return 2 * self.config.batch_size

    def neighbours(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """A neighbour of each example of ``batch`` (n, *event), shape of ``batch``."""
        if self.spec.kind == "binary":
            sites = torch.randint(self.spec.dimension, (len(batch), 1), generator=generator, device=batch.device)
            return flipped(batch, sites).squeeze(1)
        widths = batch.new_tensor(self.config.scales) * self.spec.std
        chosen = widths[torch.randint(len(widths), (len(batch),), generator=generator, device=batch.device)]
        z = torch.randn(batch.shape, generator=generator, device=batch.device, dtype=batch.dtype)
        return batch + chosen.view(-1, *[1] * (batch.dim() - 1)) * z

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        x = torch.cat([batch, self.neighbours(batch, generator)])
        energies = self.live(x)
        here, there = energies.split(len(batch))
        report = self.update(self.loss(here, there).mean(), energies, x)
        return report | {"accuracy": (here < there).double().mean()}
