"""Particle dynamics along the change of the energy to first order in that of the weights."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.particle_dynamics import ParticleDynamics


class PDBeta(ParticleDynamics):
    """y ← y - α ∇ₓ⟨∇_θE(y), Δθ⟩ with Δθ what the optimiser did: `pd_alpha` but for O(|Δθ|²).

    That is so of smooth networks. Of rectifiers it misses that slopes jump where a unit changes sides, which is of first order in the mean
    over particles.
    """

    name = "pd_beta"
    revision = 1
    title = "PD Beta"

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        return -change.slope_to_first_order(x)
