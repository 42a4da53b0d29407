"""A method of a user's own with a sampler of its own, for the tests of sources."""

import torch

from ebmpipe import samplers
from ebmpipe.energies import frozen
from ebmpipe.methods import Reference, Samples
from ebmpipe.methods.nce import NCE
from ebmpipe.samplers import ULA

#: Steps of its chains.
STEPS = 3


class Short(NCE):
    """NCE that samples by three steps from the base."""

    name = "short"
    references = (Reference("nobody", "nothing", 2026),)

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        with frozen(self):
            start = self.base.sample(n, generator)
            x, summary = samplers.run(ULA(step_size=0.1), self.energy_function(), start, STEPS, generator)
        before = x if self.denoises else None
        cost = summary.gradient_evaluations + n * int(self.denoises)
        return Samples(self.denoised(x), "three steps", before, sampler_steps=STEPS, gradient_evaluations=cost)
