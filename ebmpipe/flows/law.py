"""The law of a normalising flow: a normalised density that can be sampled, and where its latent vectors are."""

from __future__ import annotations

import math

from torch import Tensor

from ebmpipe.flows.base import Flow
from ebmpipe.spec import DataSpec
from ebmpipe.transported_law import TransportedLaw


class FlowLaw(TransportedLaw):
    """The law of x = m + s g(z) with z ~ N(0, I), the data's mean m and standard deviation s. Its support is the whole space.

    Args:
        flow: of standardised events, whose inverse is g.
        spec: the data.
    """

    def __init__(self, flow: Flow, spec: DataSpec) -> None:
        super().__init__(spec.shape)
        self.flow, self.mean, self.std = flow, spec.mean, spec.std
        self.dimension = flow.dimension
        # Of the standardisation, and of the latent Gaussian.
        self.log_constant = spec.dimension * (math.log(spec.std) + math.log(2 * math.pi) / 2)

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, (n, dimension), and log |det ∂z/∂((x - m)/s)| in nats, (n,), at ``x`` (n, *event)."""
        z, log_det = self.flow((x - self.mean) / self.std)
        return z, log_det

    def carried(self, u: Tensor) -> Tensor:
        """m + s g(u), (n, *event), of latent vectors (n, dimension)."""
        return self.flow.inverse(u) * self.std + self.mean

    def initialise(self, x: Tensor) -> None:
        """Let weights that begin where the data are do so, at examples ``x`` (n, *event)."""
        self.flow.initialise((x - self.mean) / self.std)

    def forward(self, x: Tensor) -> Tensor:
        z, log_det = self.latent(x)
        return z.square().sum(1) / 2 - log_det + self.log_constant
