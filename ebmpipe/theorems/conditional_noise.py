"""Noise contrastive estimation with noise that surrounds each example."""

from __future__ import annotations

import math

from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.conditional_nce import conditional_contrast
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.theorems.examples import expected
from ebmpipe.theorems.limits import Limit


class ConditionalNoise(Limit):
    """CNCE tells x from x + εz by the energies of the two alone; for little noise it is score matching."""

    name = "conditional_noise"
    revision = 1
    title = "conditional NCE"
    statement = "2 E_z log(1 + exp(E(x) − E(x + εz))) = 2 log 2 + (ε²/2)[½‖∇E‖² − ΔE] + O(ε⁴)"
    source = "Ceylan & Gutmann 2018"
    methods = ("conditional_nce", "score_matching")
    panel = "limits"
    order = 2
    constant = 2 * math.log(2)

    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        def told_apart(here: Tensor, z: Tensor) -> Tensor:
            return conditional_contrast(energy(here), energy(here + step * z))

        return expected(x, told_apart)

    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return step**2 / 2 * implicit_score_matching(energy, x)
