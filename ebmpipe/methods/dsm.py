"""Denoising score matching."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
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
    noisy = (x + sigma * z).requires_grad_(True)
    (slope,) = torch.autograd.grad(energy(noisy).sum(), noisy, create_graph=True)
    return (sigma * slope - z).flatten(1).square().sum(1) / 2


class DSMConfig(MethodConfig):
    """Settings of `DSM`."""

    sigma: float = Field(0.15, gt=0, description="standard deviation of the noise, in model space")


class DSM(EnergyMethod):
    """Matches the score of data smoothed by Gaussian noise of one level: no sampling, no log Z.

    The optimum is the smoothed density, not the data's (Vincent 2011; Song & Kingma 2021, §4.1).
    """

    name = "dsm"
    revision = 1
    title = "DSM"
    references = (
        Reference("P. Vincent", "A connection between score matching and denoising autoencoders", 2011),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = DSMConfig
    config: DSMConfig
    supports = frozenset({"space"})  # its noise carries data beyond every box
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"sigma": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """∇ₓE and then the gradient of the loss in the weights, once each per example."""
        return 2 * self.config.batch_size

    @property
    def noise_level(self) -> float:
        return float((self.config.sigma**2 + self.config.data_noise**2) ** 0.5)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        z = torch.randn(batch.shape, generator=generator, device=batch.device)
        energy = Watched(self.live)
        loss = denoising_score_matching(energy, batch, z, self.config.sigma).mean()
        return self.update(loss, energy.seen, energy.x)
