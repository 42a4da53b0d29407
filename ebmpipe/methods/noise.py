"""Control: samples of the Gaussian base, from which every chain starts."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.base import Control, Samples


class Noise(Control):
    """The least that training must beat: the broad Gaussian base itself, as model and as samples."""

    name = "noise"
    revision = 1
    title = "Gaussian noise"
    exact_sampler = True

    def energy(self, x: Tensor) -> Tensor:
        value: Tensor = self.base(x)
        return value

    def energy_function(self) -> Energy:
        return self.base

    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` independent draws."""
        return Samples(self.base.sample(n, generator), "draws of the base")
