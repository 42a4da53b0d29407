"""What latent vectors examples may have come from: an inference model's answer, and chains that revise it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.energies import frozen
from ebmpipe.latent_variable import LatentVariableLaw, Posterior
from ebmpipe.samplers import Summary


@dataclass(frozen=True)
class LatentCodes:
    """A generator, perhaps with an inference model, and a kernel for the posterior p(z | x).

    Attributes:
        law: generator and inference model.
        kernel: what revises latent vectors under the posterior.
        steps: how many of its steps training takes.
        infers: whether the inference model is one that learned; else codes begin at the prior.
        doubled: whether the posterior's likelihood is squared, as `Posterior` has it.
    """

    law: LatentVariableLaw
    kernel: samplers.Kernel
    steps: int
    infers: bool = True
    doubled: bool = False

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` latent vectors of the prior, (n, latent)."""
        z = torch.randn(n, self.law.latent, generator=generator, device=generator.device)
        return z.to(self.law.fixed)

    @torch.no_grad()
    def inferred(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of q(z | x) for each of ``x`` (n, *event); of the prior where nothing infers; (n, latent), constants."""
        e = self.prior(len(x), generator)
        if not self.infers:
            return e
        mean, deviation = self.law.encoded(x)
        return mean + deviation * e

    def revised(self, x: Tensor, z: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Summary]:
        """Latent vectors from ``z`` (n, latent) after ``steps`` steps under p(z | x), each given its own of ``x``; weights are fixed."""
        with frozen(self.law):
            return samplers.run(self.kernel, Posterior(self.law, x, self.doubled), z.detach(), steps, generator)
