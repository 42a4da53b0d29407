"""Particle dynamics along the change of the energy to first order in that of the weights."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.particle_dynamics import ParticleDynamics


class PDBeta(ParticleDynamics):
    """y ← y - α ∇ₓ⟨∇_θE(y), Δθ⟩ with Δθ what the optimiser did: `pd_alpha` but for O(|Δθ|²)."""

    name = "pd_beta"
    revision = 1
    title = "PD Beta"

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        return -change.slope_to_first_order(x)
