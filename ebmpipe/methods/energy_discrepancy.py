"""Energy discrepancy."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference


def energy_discrepancy(energy_data: Tensor, energy_perturbed: Tensor, stabiliser: float) -> Tensor:
    """log(w/M + (1/M) Σⱼ exp(E(x) - E(x'ⱼ))) for each example, shape (n,), in nats.

    The x'ⱼ are draws of where x may have come from, had it been seen through noise: x + √t ξ + √t ξ'ⱼ, with one ξ for all of them
    (Schröder et al. 2023). For w = 1 it is, but for log M, minus the logarithm of the probability with which the energy picks x out
    of itself and the x'ⱼ. Given x + √t ξ these are exchangeable but for the data's density, so that the truth is its optimum for every M
    and t; for M = 1 it is half of conditional NCE's loss.

    Args:
        energy_data: E(x), (n,).
        energy_perturbed: E(x'ⱼ), (M, n).
        stabiliser: w ≥ 0.
    """
    differences = energy_data - energy_perturbed
    if stabiliser:
        differences = torch.cat([differences, torch.full_like(energy_data, math.log(stabiliser))[None]])
    return differences.logsumexp(0) - math.log(len(energy_perturbed))


class EnergyDiscrepancyConfig(MethodConfig):
    """Settings of `EnergyDiscrepancy`."""

    scale: float = Field(0.7, gt=0, description="√t, standard deviation of either noise, in units of the data's")
    perturbed: int = Field(4, ge=1, description="M, perturbed copies of each example")
    stabiliser: float = Field(
        1.0, ge=0, description="w: at 1 the optimum is the data's law for any number of copies; at 0 only for ever more of them"
    )


class EnergyDiscrepancy(EnergyMethod):
    """Compares each example with points that it might have been, had it been seen through noise: no score, no chain, no log Z.

    As t grows it goes from score matching to maximum likelihood (Schröder et al. 2023), so that noise as wide as the data sees
    the weights of modes that little noise does not.
    """

    name = "energy_discrepancy"
    revision = 1
    title = "Energy discrepancy"
    references = (
        Reference(
            "T. Schröder, Z. Ou, J. N. Lim, Y. Li, S. J. Vollmer, A. B. Duncan",
            "Energy discrepancies: a score-independent loss for energy-based models",
            2023,
            "2307.06431",
        ),
    )
    Config = EnergyDiscrepancyConfig
    config: EnergyDiscrepancyConfig
    supports = frozenset({"space"})  # noise that leaves the box would be told from data by that alone
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"batch_size": 64, "data_noise": 0.3, "scale": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and its perturbed copies once."""
        return (1 + self.config.perturbed) * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        n, copies, width = len(batch), self.config.perturbed, self.config.scale * self.spec.std
        z = torch.randn(1 + copies, *batch.shape, generator=generator, device=batch.device, dtype=batch.dtype)
        x = torch.cat([batch, (batch + width * (z[:1] + z[1:])).flatten(0, 1)])
        energies = self.live(x)
        here, there = energies[:n], energies[n:].view(copies, n)
        report = self.update(energy_discrepancy(here, there, self.config.stabiliser).mean(), energies, x)
        return report | {"accuracy": (here < there).double().mean()}
