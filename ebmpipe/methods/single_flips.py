"""States and themselves with one coordinate flipped, told by their energies: what losses of the D conditionals share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.flips import all_sites, value_and_flips
from ebmpipe.methods.base import EnergyMethod, Setup
from ebmpipe.spec import Kind


class SingleFlipsConfig(MethodConfig):
    """Settings of `SingleFlips`."""

    flips: int | None = Field(
        None,
        ge=1,
        description="coordinates of each example that are flipped in an update, drawn without replacement; null: all of them",
    )


class SingleFlips(EnergyMethod):
    """A method whose loss is a sum over coordinates i of f(E(x^i) - E(x)), x^i being the state x with coordinate i flipped.

    The change of E is the log-odds of x_i given all other coordinates, so Z cancels. Of ``flips`` coordinates at random the sum is taken
    times D over their number: an unbiased estimate.
    """

    Config = SingleFlipsConfig
    config: SingleFlipsConfig
    kinds: ClassVar[frozenset[Kind]] = frozenset({"binary"})
    supports = frozenset({"space"})

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.flips > setup.spec.dimension:
            raise ValueError(f"flips: {self.flips} is more than the {setup.spec.dimension} coordinates of {setup.spec.name}")

    @staticmethod
    @abstractmethod
    def loss(changes: Tensor, /) -> Tensor:
        """f of E(x^i) - E(x) in nats, each coordinate for itself, shape of ``changes``."""

    @property
    def flips(self) -> int:
        """Coordinates of each example that are flipped in an update."""
        return self.spec.dimension if self.config.flips is None else self.config.flips

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and its flips once."""
        return (1 + self.flips) * self.config.batch_size

    def sites(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """The coordinates to flip of each example of ``batch`` (n, *event), (n, flips) int64."""
        if self.flips == self.spec.dimension:
            return all_sites(batch)
        order = torch.rand(len(batch), self.spec.dimension, generator=generator, device=batch.device)
        return order.topk(self.flips, dim=1).indices

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        here, changes = value_and_flips(self.live, batch, self.sites(batch, generator))
        report = self.update(self.loss(changes).mean() * self.spec.dimension, here, batch)
        return report | {"accuracy": (changes > 0).double().mean()}
