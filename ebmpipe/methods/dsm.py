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
    """`denoising_score_matching` less its control variate (‖z‖² - D)/2 - σ z·∇E(x) for each example, shape (n,).

    With the slope s̃ at x + σz and s at x what is left is D/2 + ½σ²‖s̃‖² - σ z·(s̃ - s). The control variate has mean zero whatever the
    weights, so that mean and gradient are those of the plain loss in expectation. Of its standard deviation and that of its gradient, of
    orders 1 and σ, what remains is of order σ², as is all that the loss has to say of the model: σ⁻² (loss - D/2) tends to
    ½‖s‖² - zᵀ∇²E(x)z, whose mean over z is that of implicit score matching (after Wang, Cheng, Li, Zhu & Zhang 2020).

    Args:
        energy: E, differentiable twice.
        x: clean examples (n, *event).
        z: standard normal noise, shape of ``x``.
        sigma: standard deviation of the noise, in data units.
    """
    noisy, clean = slope(energy, torch.cat([x + sigma * z, x])).flatten(1).chunk(2)
    direction = z.flatten(1)
    return direction.shape[1] / 2 + sigma**2 * noisy.square().sum(1) / 2 - sigma * (direction * (noisy - clean)).sum(1)


class DSMConfig(MethodConfig):
    """Settings of `DSM`."""

    sigma: float = Field(0.15, gt=0, description="standard deviation of the noise, in model space")
    control_variate: bool = Field(
        False, description="whether a control variate takes off what varies most where sigma is small; it evaluates E at clean examples too"
    )


class DSM(EnergyMethod):
    """Matches the score of data smoothed by Gaussian noise of one level: no sampling, no log Z.

    The optimum is the smoothed density, not the data's (Vincent 2011; Song & Kingma 2021, §4.1).
    """

    name = "dsm"
    revision = 2
    title = "DSM"
    references = (
        Reference("P. Vincent", "A connection between score matching and denoising autoencoders", 2011),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
        Reference(
            "Z. Wang, S. Cheng, Y. Li, J. Zhu, B. Zhang",
            "A Wasserstein minimum velocity approach to learning unnormalized models",
            2020,
            "2002.07501",
        ),
    )
    Config = DSMConfig
    config: DSMConfig
    supports = frozenset({"space"})  # its noise carries data beyond every box
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"sigma": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """∇ₓE and then the gradient of the loss in the weights, once each per example, and as much where it is clean if that is used."""
        return 2 * self.config.batch_size * (1 + self.config.control_variate)

    @property
    def noise_level(self) -> float:
        return float((self.config.sigma**2 + self.config.data_noise**2) ** 0.5)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        z = torch.randn(batch.shape, generator=generator, device=batch.device)
        energy = Watched(self.live)
        matching = controlled_denoising_score_matching if self.config.control_variate else denoising_score_matching
        return self.update(matching(energy, batch, z, self.config.sigma).mean(), energy.seen, energy.x)
