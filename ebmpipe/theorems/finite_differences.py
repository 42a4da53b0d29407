"""Sliced score matching by differences of energies, without a second derivative."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.sliced_score_matching import finite_difference_slices, plain_slices
from ebmpipe.theorems.examples import directions
from ebmpipe.theorems.limits import Limit


class FiniteDifferences(Limit):
    """Three energies along a direction stand for the slope and the curvature there."""

    name = "finite_differences"
    revision = 1
    title = "sliced SM by finite differences"
    statement = "[(ℓ₊ − ℓ₋)²/8 + ℓ₊ + ℓ₋ − 2ℓ]/ε² = ½(uᵀs)² + uᵀ∇s u + O(ε²), ℓ± = −E(x ± εu)"
    source = "Pang et al. 2020"
    methods = ("sliced_score_matching",)
    panel = "limits"
    order = 2
    constant = 0.0

    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return finite_difference_slices(energy, x, directions(x.shape[1:]), step)

    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return plain_slices(energy, x, directions(x.shape[1:]))
