"""Control: held-out real data in place of samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ebmpipe import registry
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import Energy, TrueEnergy
from ebmpipe.methods.base import Control, NoEnergy, Samples


class Data(Control):
    """The best that samples can look: the validation split, never seen in training. In 2-D its energy is the true one."""

    name = "data"
    revision = 1
    title = "real data"
    exact_sampler = True

    def energy(self, x: Tensor) -> Tensor:
        value: Tensor = self.energy_function()(x)
        return value

    def energy_function(self) -> Energy:
        if self.spec.kind != "density":
            raise NoEnergy("the density of the data is unknown")
        return TrueEnergy(registry.load("data", self.spec.name)())

    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` examples of the validation split without replacement; all of them if it has fewer."""
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        rng = np.random.default_rng(seed)
        data = Prepared(self.spec.folder).model_space("validation", rng)
        chosen = rng.permutation(len(data))[:n]
        return Samples(torch.from_numpy(data[chosen]).float(), "held-out data")
