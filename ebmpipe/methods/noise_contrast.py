"""Telling data from noise by a model's log-odds, with the model's log Z learned beside it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.energies import gradient, support_of, value_and_gradient
from ebmpipe.methods.base import Reference
from ebmpipe.supports import Box

FLOW_CONTRASTIVE = Reference(
    "R. Gao, E. Nijkamp, D. P. Kingma, Z. Xu, A. M. Dai, Y. N. Wu", "Flow contrastive estimation of energy-based models", 2020, "1912.00589"
)


def contrast(log_ratio_data: Tensor, log_ratio_noise: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """-log σ(ℓ - log ν) for data and -log σ(log ν - ℓ) for noise, in nats, one value per example.

    The objective is the mean of the first plus ν times the mean of the second (Gutmann & Hyvärinen 2012, eq. 8).

    Args:
        log_ratio_data: ℓ = log p(x) - log p_noise(x) at data, (n,).
        log_ratio_noise: the same at noise, (m,).
        ratio: ν = m/n, noise samples per example.
    """
    offset = math.log(ratio)
    return functional.softplus(offset - log_ratio_data), functional.softplus(log_ratio_noise - offset)


def accuracy(log_ratio_data: Tensor, log_ratio_noise: Tensor, ratio: float = 1.0) -> Tensor:
    """Share that is told right, of data and noise in equal parts: a scalar, ½ where they cannot be told apart."""
    offset = math.log(ratio)
    return ((log_ratio_data > offset).double().mean() + (log_ratio_noise < offset).double().mean()) / 2


class NormalisedEnergy(nn.Module):
    """E(x) + c with c = log Z learned: minus a log-density."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy
        self.log_partition = nn.Parameter(torch.zeros(()))

    @property
    def support(self) -> Box | None:
        """That of E."""
        return support_of(self.energy)

    def forward(self, x: Tensor) -> Tensor:
        """-log p(x) in nats, shape (n,)."""
        value: Tensor = self.energy(x) + self.log_partition
        return value

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient."""
        return gradient(self.energy, x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.energy, x)
        return value + self.log_partition.detach(), slope
