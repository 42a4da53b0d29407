"""Denoising score matching."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.derivatives import slope
from ebmpipe.energies import Energy, Watched
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference


def denoising_score_matching(energy: Energy, x: Tensor, z: Tensor, sigma: float) -> Tensor:
    """½ ‖σ ∇E(x + σz) - z‖² for each example, shape (n,).

    Its expectation over x and z ~ N(0, I) is σ² times the Fisher divergence (½ E‖difference of scores‖²) between the data
    smoothed by N(0, σ²I) and the model, plus a constant. The factor σ² keeps it of order one as σ → 0 (Vincent 2011, eq. 9).

    Args:
        energy: E, differentiable twice.
        x: clean examples (n, *event).
        z: standard normal noise, shape of ``x``.
        sigma: standard deviation of the noise, in data units.
    """
    return (sigma * slope(energy, x + sigma * z) - z).flatten(1).square().sum(1) / 2


def controlled_denoising_score_matching(energy: Energy, x: Tensor, z: Tensor, sigma: float) -> Tensor:
    """½ ‖∇E(x + σz)‖² - z·[∇E(x + σz) - ∇E(x)]/σ for each example, shape (n,), in nats per squared unit of x.

    `denoising_score_matching` over σ², less the control variate (‖z‖² - D)/(2σ²) - z·∇E(x)/σ, whose expectation is zero, and less the
    constant D/(2σ²) (after Wang et al. 2020). So it has the same optimum, while its variance stays bounded as σ → 0, where it tends to
    ½ ‖∇E‖² - zᵀ∇²E z, score matching with Hutchinson's estimate of the Laplacian.

    Args:
        energy: E, differentiable twice; evaluated once, at clean and noisy examples.
        x: clean examples (n, *event).
        z: standard normal noise, shape of ``x``.
        sigma: standard deviation of the noise, in data units.
    """
    noisy, clean = slope(energy, torch.cat([x + sigma * z, x])).flatten(1).split(len(x))
    losses: Tensor = noisy.square().sum(1) / 2 - (z.flatten(1) * (noisy - clean)).sum(1) / sigma
    return losses


class DSMConfig(MethodConfig):
    """Settings of `DSM`."""

    sigma: float = Field(0.15, gt=0, description="standard deviation of the noise, in model space")
    control_variate: bool = Field(
        False, description="take off the part of the loss that explodes as sigma falls, at the price of ∇E at the clean examples too"
    )


class DSM(EnergyMethod):
    """Matches the score of data smoothed by Gaussian noise of one level: no sampling, no log Z.

    The optimum is the smoothed density, not the data's (Vincent 2011; Song & Kingma 2021, §4.1).
    """

    name = "dsm"
    revision = 1
    title = "DSM"
    references = (
        Reference("P. Vincent", "A connection between score matching and denoising autoencoders", 2011),
        Reference(
            "Z. Wang, S. Cheng, Y. Li, J. Zhu, B. Zhang", "A Wasserstein minimum velocity approach to learning unnormalized models", 2020
        ),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = DSMConfig
    config: DSMConfig
    supports = frozenset({"space"})  # its noise carries data beyond every box
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"sigma": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """∇ₓE and then the gradient of the loss in the weights, once each per example; with the control variate at clean ones too."""
        return 2 * self.config.batch_size * (2 if self.config.control_variate else 1)

    @property
    def noise_level(self) -> float:
        return float((self.config.sigma**2 + self.config.data_noise**2) ** 0.5)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        z = torch.randn(batch.shape, generator=generator, device=batch.device)
        energy = Watched(self.live)
        losses = controlled_denoising_score_matching if self.config.control_variate else denoising_score_matching
        return self.update(losses(energy, batch, z, self.config.sigma).mean(), energy.seen, energy.x)
