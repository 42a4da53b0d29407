"""Methods that train one energy E(x, σ) for data with noise of many levels, of which the least is what is evaluated."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import MethodConfig
from ebmpipe.energies import Energy, GaussianLaw
from ebmpipe.methods.base import EnergyMethod, Samples, Setup
from ebmpipe.noise_levels import NoisyEnergies, geometric, with_level


class ManyLevelsConfig(MethodConfig):
    """Settings that they share."""

    sigma: float = Field(0.15, gt=0, description="least level of noise, in model space: that of the energy that is evaluated")
    widest: float = Field(2.0, gt=0, description="largest level, in units of the data's standard deviation; at least sigma")


class ManyLevels(EnergyMethod):
    """Trains `NoisyEnergies`.

    Attributes:
        widths: the levels, falling from the widest to sigma by a constant factor, in units of x.
    """

    Config = ManyLevelsConfig
    config: ManyLevelsConfig
    supports = frozenset({"space"})  # their noise carries data beyond every box

    def __init__(self, setup: Setup, levels: int) -> None:
        super().__init__(setup)
        config, widest = self.config, self.config.widest * self.spec.std
        if widest < config.sigma:
            raise ValueError(
                f"{self.name}: the widest level, {config.widest:g} times the data's deviation {self.spec.std:.3g}, is below sigma, "
                f"{config.sigma:g}: raise widest or lower sigma"
            )
        self.widths = geometric(widest, config.sigma, levels)

    def made(self, setup: Setup) -> nn.Module:
        return NoisyEnergies(self.network(setup, with_level(setup.spec)), setup.spec)

    @property
    def noise_level(self) -> float:
        return float((self.config.sigma**2 + self.config.data_noise**2) ** 0.5)

    def modelled(self, energy: nn.Module) -> Energy:
        result: Energy = energy.at(self.config.sigma)  # type: ignore[operator]
        return result

    def widest_samples(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` samples, (n, *event), of a Gaussian about as wide as the data at the widest level: where own samplers start."""
        spec = self.spec
        return GaussianLaw(spec.shape, spec.mean, (spec.std**2 + self.widths[0] ** 2) ** 0.5).sample(n, generator)

    def ended(self, x: Tensor, sampler: str, evaluations: int, **more: Any) -> Samples:
        """Samples that an own sampler brought to ``x``, with the denoising jump.

        Args:
            x: positions (n, *event).
            sampler: what drew them.
            evaluations: input gradients that they took, over all chains, without that of the jump.
            more: what else `Samples` holds.
        """
        before = x if self.denoises else None
        cost = evaluations + len(x) * int(self.denoises)
        return Samples(self.denoised(x), sampler, before=before, gradient_evaluations=cost, **more)
