"""Control: samples of the Gaussian base, from which every chain starts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.base import Method, Samples


class Noise(Method):
    """The least that training must beat: the broad Gaussian base itself, as model and as samples."""

    name = "noise"
    revision = 1
    title = "Gaussian noise"
    references = ()
    trains = False
    control = True

    @property
    def gradient_evaluations_per_step(self) -> int:
        return 0

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """Nothing is learned."""
        return {"loss": 0.0}

    def energy(self, x: Tensor) -> Tensor:
        value: Tensor = self.base(x)
        return value

    def energy_function(self) -> Energy:
        return self.base

    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` independent draws."""
        return Samples(self.base.sample(n, generator))
