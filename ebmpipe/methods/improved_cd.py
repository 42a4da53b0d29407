"""Improved contrastive divergence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig
from ebmpipe.energies import Energy, frozen, gradient
from ebmpipe.methods.base import ByKind, Reference, Setup
from ebmpipe.methods.contrastive import ON_IMAGES, Negatives, Persistent, PersistentConfig
from ebmpipe.samplers.ula import ULA


def through_last_step(energy: Energy, x: Tensor, z: Tensor, step_size: float, noise_scale: float) -> tuple[Tensor, Tensor]:
    """x - (ε²/2) ∇E(x) + η z as a function of the energy's weights, and ∇E(x) itself: ``x`` and ``z`` (n, *event) are constants."""
    x = x.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    return x.detach() - step_size**2 / 2 * slope + noise_scale * z, slope.detach()


def nearest_neighbour_entropy(x: Tensor, others: Tensor, own: Tensor | None = None) -> Tensor:
    """d · mean log of the distance from each of ``x`` (n, *event) to the nearest of ``others`` (m, *event), in nats.

    Up to a constant the entropy of the density that both are drawn from (Kozachenko & Leonenko 1987), d the dimension. A point at
    distance zero, which is the same one, is no neighbour, and neither is the one of the others that ``own`` (n,) names for each.
    """
    flat = x.flatten(1)
    squared = torch.cdist(flat, others.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").square()
    squared = squared.masked_fill(squared == 0, math.inf)
    if own is not None:
        squared = squared.scatter(1, own[:, None], math.inf)
    nearest = squared.amin(1)
    return flat.shape[1] * nearest.log().mean() / 2


class ImprovedCDConfig(PersistentConfig):
    """Settings of `ImprovedCD`."""

    kernel: KernelConfig = Field(
        KernelConfig(name="ula", settings={"step_size": 0.15}), description="the kernel that moves the chains: ula"
    )
    restart: float = Field(0.01, ge=0, le=1, description="probability that a drawn chain starts anew")
    kl_weight: float = Field(
        1.0, description="factor on KL(q || p) of the last step's law q; 1 as in Du et al., -1 for the gradient of contrastive divergence"
    )
    entropy_weight: float = Field(1.0, ge=0, description="factor on the entropy of q within it")


class ImprovedCD(Persistent):
    """Adds to contrastive divergence the term that it leaves out: how the negative samples themselves depend on the weights.

    With q the law of the chains after their last step, and p ∝ exp(-E/T), T KL(q ‖ p) depends on the weights through q as E_q[E] - T H(q):
    the energy of the last sample with E's own weights held fixed, differentiated through the step that made it, less a nearest-neighbour
    estimate of the entropy (Du et al. 2021). Neighbours are the persistent chains, but for the one that the sample itself was before: that
    is near because of how far a chain moves, and not because of how dense q is. That work minimises the divergence, which draws the
    sampler towards the model. The gradient of contrastive divergence proper, KL(data ‖ p) - KL(q ‖ p), has it with the other sign.
    """

    name = "improved_cd"
    revision = 2
    title = "Improved CD"
    references = (
        Reference(
            "Y. Du, S. Li, J. Tenenbaum, I. Mordatch", "Improved contrastive divergence training of energy-based models", 2021, "2012.01316"
        ),
    )
    Config = ImprovedCDConfig
    config: ImprovedCDConfig
    kernel: ULA
    settings_by_kind: ClassVar[ByKind] = {
        # Half of this learning rate is too low for thin moons; of what else was tried, docs/methods.md has the figures.
        "density": {"kl_weight": 0.1, "optimiser": {"learning_rate": 1e-3}},
        "images": {
            **ON_IMAGES,
            "chains": 400,
            "steps": 20,
            # In many dimensions the term outweighs the contrast itself.
            "kl_weight": 0.1,
        },
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if not isinstance(self.kernel, ULA) or self.kernel.clip is not None:
            raise ValueError("improved_cd differentiates through the last step of its chains: its kernel must be ula without clip")
        if self.config.chains < 2:
            raise ValueError("improved_cd estimates an entropy from a chain's neighbours: it needs at least 2 chains")

    @property
    def gradient_evaluations_per_step(self) -> int:
        """As in `Contrastive`, then ∇E at the last samples, and the derivative in the weights of the last step's ∇E."""
        return super().gradient_evaluations_per_step + 2 * self.config.batch_size

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        drawn = self.drawn(batch, generator)
        with frozen(self.live):
            before, summary = samplers.run(self.kernel, self.live, drawn.x, self.config.steps - 1, generator)
        z = torch.randn(before.shape, generator=generator, device=before.device)
        x, slope = through_last_step(self.live, before, z, self.kernel.step_size, self.kernel.noise_scale)
        last = float(torch.linalg.vector_norm(slope.flatten(1), dim=1).mean())
        summary = replace(
            summary,
            steps=self.config.steps,
            gradient_evaluations=summary.gradient_evaluations + len(slope),
            gradient_norm=summary.gradient_norm + (last - summary.gradient_norm) / self.config.steps,
        )
        if self.base.support:
            x = self.base.support.fold(x)
        return Negatives(x.detach(), summary, drawn, through=x)

    def loss_beside(self, batch: Tensor, negatives: Negatives, generator: torch.Generator) -> Tensor:
        x, drawn = negatives.through, negatives.drawn
        assert x is not None and drawn is not None
        with frozen(self.live):
            slope = gradient(self.live, negatives.x)
        # Its gradient is that of mean E(x) with E's weights held fixed.
        energy = (slope * x).flatten(1).sum(1).mean()
        entropy = nearest_neighbour_entropy(x, self.persistence.positions, drawn.slots)
        return self.config.kl_weight * (energy - self.config.entropy_weight * self.temperature * entropy)
