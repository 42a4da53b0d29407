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
    """The best that samples can look: the validation split, never seen in training. Where the law is known its energy is the true one."""

    name = "data"
    revision = 1
    title = "real data"
    kinds = frozenset({"density", "vectors", "images", "binary"})
    exact_sampler = True

    def energy(self, x: Tensor) -> Tensor:
        value: Tensor = self.energy_function()(x)
        return value

    def energy_function(self) -> Energy:
        if self.spec.entropy is None:
            raise NoEnergy("the density of the data is unknown")
        return TrueEnergy(registry.load("data", self.spec.name)())

    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` examples of the validation split without replacement; all of them if it has fewer."""
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        data = Prepared(self.spec.folder)
        count, dimension = len(data.split("validation")), self.spec.dimension
        # Which examples is drawn behind the noise of all of them, which is made in parts, so that few are in memory at once.
        behind = np.random.PCG64(seed)
        chosen = np.random.Generator(behind.advance(0 if self.spec.levels is None else count * dimension)).permutation(count)[:n]
        order = np.argsort(chosen)
        samples, begin = torch.empty(len(chosen), *self.spec.shape, dtype=torch.float32), 0
        for part in data.in_parts("validation", np.random.default_rng(seed)):
            here = order[np.searchsorted(chosen[order], begin) : np.searchsorted(chosen[order], begin + len(part))]
            samples[torch.from_numpy(here)] = torch.from_numpy(part[chosen[here] - begin]).float()
            begin += len(part)
        return Samples(samples, "held-out data")
