"""Control: samples of the base, from which every chain starts."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.base import Control, Samples


class Noise(Control):
    """The least that training must beat: the base itself, as model and as samples: a broad Gaussian, of binary data fair coins."""

    name = "noise"
    revision = 1
    title = "noise"
    kinds = frozenset({"density", "vectors", "images", "binary"})
    exact_sampler = True

    def energy(self, x: Tensor) -> Tensor:
        value: Tensor = self.base(x)
        return value

    def energy_function(self) -> Energy:
        return self.base

    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` independent draws."""
        return Samples(self.base.sample(n, generator), "draws of the base")
