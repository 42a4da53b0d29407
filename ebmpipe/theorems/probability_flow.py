"""Minimum probability flow to neighbours that noise leads to."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.minimum_probability_flow import probability_flow
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.theorems.examples import expected
from ebmpipe.theorems.limits import Limit


class ProbabilityFlow(Limit):
    """The flow of probability from x to x + εz; for little noise it is score matching."""

    name = "probability_flow"
    revision = 1
    title = "minimum probability flow"
    statement = "E_z exp(½(E(x) − E(x + εz))) = 1 + (ε²/4)[½‖∇E‖² − ΔE] + O(ε⁴)"
    source = "Sohl-Dickstein et al. 2011"
    methods = ("minimum_probability_flow", "score_matching")
    panel = "limits"
    order = 2
    constant = 1.0

    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return expected(x, lambda here, z: probability_flow(energy(here), energy(here + step * z)))

    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return step**2 / 4 * implicit_score_matching(energy, x)
