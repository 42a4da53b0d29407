"""Particle dynamics along the field smoothed by a kernel: a Stein variational step towards the new energy."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.base import Reference
from ebmpipe.methods.particle_dynamics import PARTICLE_DYNAMICS, ParticleDynamics, ParticleDynamicsConfig


def smoothed_by_kernel(x: Tensor, vectors: Tensor, bandwidth: float | None) -> Tensor:
    """(1/N) Σ_j k(y, y_j) g_j at every particle y, with k(x, y) = exp(-|x - y|²/(2h²)); shape of ``x``.

    Args:
        x: the particles, (n, *event).
        vectors: g, shape of ``x``.
        bandwidth: h in data units; None: the median distance between two of them.
    """
    flat = x.flatten(1)
    distances = torch.cdist(flat, flat)
    h = distances[torch.ones_like(distances, dtype=torch.bool).triu(1)].median() if bandwidth is None else bandwidth
    kernel = (-(distances / h).square() / 2).exp()
    return (kernel @ vectors.flatten(1) / len(x)).view(x.shape)


class PDSteinConfig(ParticleDynamicsConfig):
    """Settings of `PDStein`."""

    bandwidth: float | None = Field(None, gt=0, description="of the Gaussian kernel, in data units; null: the median distance of particles")


class PDStein(ParticleDynamics):
    """y ← y - α (1/N) Σ_j k(y, y_j) ∇ΔE(y_j): steepest descent of the mean of ΔE among fields of the kernel's space.

    By Stein's identity it is a step of Stein variational gradient descent (Liu & Wang 2016) towards the new law, from particles of the old
    one, E_p[k ∇log p_new + ∇k] = -E_p[k ∇ΔE], without the two terms' noise, which cancels here before it is averaged.
    """

    name = "pd_stein"
    revision = 1
    title = "PD Stein"
    references = (
        PARTICLE_DYNAMICS,
        Reference(
            "Q. Liu, D. Wang", "Stein variational gradient descent: a general purpose Bayesian inference algorithm", 2016, "1608.04471"
        ),
    )
    Config = PDSteinConfig
    config: PDSteinConfig

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        return -smoothed_by_kernel(x, change.value_and_slope(x)[1], self.config.bandwidth)
