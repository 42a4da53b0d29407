"""Noise contrastive estimation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.config import MethodConfig
from ebmpipe.energies import BasedEnergy, GaussianLaw, Law, gradient, support_of, value_and_gradient
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Setup
from ebmpipe.supports import Box


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


class NormalisedEnergy(nn.Module):
    """E(x) + c with c = log Z learned: minus a log-density."""

    def __init__(self, energy: BasedEnergy) -> None:
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


class NCEConfig(MethodConfig):
    """Settings of `NCE`."""

    ratio: int = Field(1, ge=1, description="ν, noise samples per example")
    noise_width: float = Field(
        1.25,
        gt=0,
        description="standard deviation of the Gaussian noise in units of the data's; of no use on a box, where noise is uniform",
    )


class NCE(EnergyMethod):
    """Learns E and log Z by telling data from noise with the model as the classifier's log-odds.

    Consistent, and as ν → ∞ as efficient as maximum likelihood; the noise must cover the data and be hard to tell from them
    (Gutmann & Hyvärinen 2010, 2012; Song & Kingma 2021, §5).
    """

    name = "nce"
    revision = 1
    title = "NCE"
    references = (
        Reference(
            "M. Gutmann, A. Hyvärinen", "Noise-contrastive estimation: a new estimation principle for unnormalized statistical models", 2010
        ),
        Reference("M. Gutmann, A. Hyvärinen", "Noise-contrastive estimation of unnormalized statistical models", 2012),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = NCEConfig
    config: NCEConfig
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        # Noise beyond the box would be told from data by that alone: there it is the uniform base.
        self.noise: Law = self.base if self.base.support else GaussianLaw.of(setup.spec, self.config.noise_width)

    def trained(self, energy: BasedEnergy) -> nn.Module:
        return NormalisedEnergy(energy)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and every noise sample once."""
        return self.config.batch_size * (1 + self.config.ratio)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        noise = self.noise.sample(len(batch) * self.config.ratio, generator)
        x = torch.cat([batch, noise])
        energies = self.live(x)
        log_ratio = self.noise(x) - energies
        on_data, on_noise = log_ratio.split([len(batch), len(noise)])
        data_loss, noise_loss = contrast(on_data, on_noise, self.config.ratio)
        report = self.update(data_loss.mean() + self.config.ratio * noise_loss.mean(), energies, x)
        offset = math.log(self.config.ratio)
        return report | {
            "accuracy": ((on_data > offset).double().mean() + (on_noise < offset).double().mean()) / 2,
            "log_partition": self.live.get_parameter("log_partition"),
        }
