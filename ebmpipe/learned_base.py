"""A Gaussian base whose mean and width are learned along with the energy that tilts it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ebmpipe.energies import Law
from ebmpipe.spec import DataSpec


class LearnedGaussian(Law):
    """N(μ, diag(s²)) over events, with μ and log s of every coordinate as weights; its support is the whole space.

    It is normalised whatever they are, so that log Z of an energy on it is 0 wherever the network is 0. Neklyudov, Jaini & Welling (2021)
    have such a base for energies in the plane.

    Args:
        shape: event shape.
        mean: μ of every coordinate at first.
        std: s of every coordinate at first.

    Attributes:
        mean: μ, (*event).
        log_std: log s, (*event).
    """

    def __init__(self, shape: tuple[int, ...], mean: float, std: float) -> None:
        super().__init__(shape)
        self.mean = nn.Parameter(torch.full(shape, mean))
        self.log_std = nn.Parameter(torch.full(shape, math.log(std)))
        self.log_constant = math.prod(shape) * math.log(2 * math.pi) / 2

    @classmethod
    def of(cls, spec: DataSpec) -> LearnedGaussian:
        """The Gaussian that begins with the data's mean and standard deviation."""
        return cls(spec.shape, spec.mean, spec.std)

    @property
    def std(self) -> Tensor:
        """s, (*event)."""
        return self.log_std.exp()

    def forward(self, x: Tensor) -> Tensor:
        """-log N(x; μ, diag(s²)) in nats, shape (n,), as a function of ``x`` and of the weights."""
        return ((x - self.mean) / self.std).flatten(1).square().sum(1) / 2 + self.log_std.sum() + self.log_constant

    @torch.no_grad()
    def grad(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std.square()

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(x), self.grad(x)

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        precision = (-2 * self.log_std).exp()
        return self.forward(x), (x - self.mean) * precision, precision.sum().expand(len(x))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, *self.shape, generator=generator, device=generator.device)
        return z.mul_(self.std).add_(self.mean)
