"""Contrastive divergence with one short Langevin step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from ebmpipe.derivatives import slope_and_laplacian
from ebmpipe.energies import Energy
from ebmpipe.methods.improved_cd import through_last_step
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.theorems.examples import expected
from ebmpipe.theorems.limits import STEPS, Limit, gradients


def contrast(energy: Energy, x: Tensor, step: float, detached: bool = True) -> Tensor:
    """E(x) - E_z E(x') with x' = x - (ε²/2) ∇E(x) + εz, shape (n,).

    Contrastive divergence is this with x' detached: a negative sample, which does not depend on the weights.
    """

    def negative(start: Tensor, z: Tensor) -> Tensor:
        moved, _ = through_last_step(energy, start, z, step, step)
        return energy(moved.detach() if detached else moved)

    return energy(x) - expected(x, negative)


def attached_objective(energy: Energy, x: Tensor) -> Tensor:
    """‖∇E‖² - ΔE, shape (n,): what is trained, times ε²/2, where x' is not detached. It is not score matching."""
    _, slope, laplacian = slope_and_laplacian(energy, x)
    return slope.flatten(1).square().sum(1) - laplacian


class CDStep(Limit):
    """CD with one Langevin step from the data follows score matching.

    Only the gradients agree: the values do not, as the gradient is not taken through the sample. Where it is, by mistake, another objective
    is followed: its first term has twice the weight.
    """

    name = "cd_step"
    revision = 1
    title = "CD, one Langevin step"
    statement = "∇θ E(x) − E_z[(∇θ E)(x′)] = (ε²/2) ∇θ[½‖∇E‖² − ΔE] + O(ε⁴), x′ = x − (ε²/2)∇E + εz detached"
    source = "Hyvärinen 2007"
    methods = ("improved_cd", "score_matching")
    panel = "limits"
    legend: ClassVar[Mapping[str, str]] = {
        "gradient": "CD, one Langevin step",
        "attached": "the same, sample not detached",
        "attached_own": "not detached, against ‖∇E‖² − ΔE",
    }
    order = 2

    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return contrast(energy, x, step)

    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return step**2 / 2 * implicit_score_matching(energy, x)

    @staticmethod
    def attached(energy: Energy, x: Tensor, step: float) -> Tensor:
        """The loss with the sample left attached."""
        return contrast(energy, x, step, detached=False)

    @staticmethod
    def wrong(energy: Energy, x: Tensor, step: float) -> Tensor:
        """What that comes to."""
        return step**2 / 2 * attached_objective(energy, x)

    def errors(self, shape: Sequence[int]) -> dict[str, np.ndarray]:
        """Also of the attached sample: against score matching, where it stays, and against what it really comes to."""
        attached = gradients(shape, self.attached, STEPS)
        return super().errors(shape) | {
            "attached": self.compared(attached, shape, self.leading),
            "attached_own": self.compared(attached, shape, self.wrong),
        }
