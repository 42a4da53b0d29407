"""Particle dynamics along the difference of two energies."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.particle_dynamics import ParticleDynamics


class PDAlpha(ParticleDynamics):
    """y ← y - α ∇(E_new(y) - E_old(y)): the paper's field, by a finite difference of the energies before and after each update.

    It is one step of steepest descent, in the Wasserstein metric, of the divergence from the particles' law to the new model, if that law
    is the old one; or a Langevin step under the new energy whose noise the score of the old one has replaced.
    """

    name = "pd_alpha"
    revision = 1
    title = "PD Alpha"

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        return -change.value_and_slope(x)[1]
