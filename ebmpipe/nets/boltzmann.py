"""The energy of a Boltzmann machine without hidden units."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ebmpipe.nets.base import EnergyNetwork, NetworkSettings
from ebmpipe.spec import Kind


class BoltzmannConfig(NetworkSettings):
    """It has no settings."""


class Boltzmann(EnergyNetwork):
    """f(x) = -½ xᵀWx - bᵀx of x flattened, W symmetric with zero diagonal (Ackley, Hinton & Sejnowski 1985, all units visible).

    Weights start at zero, the uniform law. Pseudolikelihood is convex in them, and there are no units whose symmetry chance would break.
    """

    name = "boltzmann"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"binary"})
    Config = BoltzmannConfig
    above: Tensor

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings) -> None:
        super().__init__(shape, config)
        self.dimension = prod(shape)
        # The pairs i < j, so that no weight is there twice.
        self.register_buffer("above", torch.triu_indices(self.dimension, self.dimension, offset=1), persistent=False)
        self.pairs = nn.Parameter(torch.zeros(self.above.shape[1]))
        self.fields = nn.Parameter(torch.zeros(self.dimension))

    @property
    def couplings(self) -> Tensor:
        """W (D, D), as a function of the weights."""
        upper = self.pairs.new_zeros(self.dimension, self.dimension).index_put((self.above[0], self.above[1]), self.pairs)
        return upper + upper.t()

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return -((flat @ self.couplings) * flat).sum(1) / 2 - flat @ self.fields

    def value_and_flips(self, x: Tensor, sites: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `ebmpipe.flips.value_and_flips` has them: a flip changes f by 2 x_s ((Wx)_s + b_s), so one product of matrices gives all."""
        flat = x.flatten(1)
        pull = flat @ self.couplings
        changes = 2 * flat * (pull + self.fields)
        return -(pull * flat).sum(1) / 2 - flat @ self.fields, changes if sites is None else changes.gather(1, sites)
