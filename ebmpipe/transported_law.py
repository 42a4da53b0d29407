"""Laws that a map makes of Gaussian vectors: what models that are sampled in latent space tilt."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ebmpipe.energies import Law, value_and_gradient


class TransportedLaw(Law):
    """The law of x(u) with u ~ N(0, I): of a flow, whose u has as many numbers as x, or of a latent-variable model, whose u has more.

    Attributes:
        dimension: of u.
        estimated: whether its density is an estimate, and with it what is known of log Z.
    """

    dimension: int
    estimated: ClassVar[bool] = False

    @abstractmethod
    def carried(self, u: Tensor) -> Tensor:
        """x(u), (n, *event), of Gaussian vectors (n, dimension), differentiable in them and in the weights."""

    def grad(self, x: Tensor) -> Tensor:
        return self.value_and_grad(x)[1]

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # By autograd: through `forward` alone, as this object offers a gradient that would call itself.
        return value_and_gradient(self.forward, x)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.reparametrised(n, generator)

    def reparametrised(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` samples, as functions of the weights."""
        return self.carried(torch.randn(n, self.dimension, generator=generator, device=generator.device))
