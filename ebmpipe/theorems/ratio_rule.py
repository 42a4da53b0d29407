"""Which losses f(E(x') - E(x)) of an example and its copy with little noise become score matching, and what the others become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebmpipe.derivatives import slope_and_laplacian
from ebmpipe.energies import Energy
from ebmpipe.methods.conditional_nce import conditional_contrast
from ebmpipe.methods.minimum_probability_flow import probability_flow
from ebmpipe.methods.ratio_matching import squared_miss
from ebmpipe.methods.score_matching import implicit_score_matching
from ebmpipe.theorems.base import Measured
from ebmpipe.theorems.examples import expected
from ebmpipe.theorems.limits import STEPS, Limit, gradients

#: (E at examples, E at their neighbours) -> the loss of each, all (n,): what `Neighbours.loss` is.
OfPairs = Callable[[Tensor, Tensor], Tensor]


def whole_ratio(here: Tensor, there: Tensor) -> Tensor:
    """exp(E(x) - E(x')) = p(x')/p(x), shape of ``here``: what minimum probability flow takes the square root of."""
    return (here - there).exp()


def ratio_missed(here: Tensor, there: Tensor) -> Tensor:
    """σ(E(x) - E(x'))², shape of ``here``: ratio matching, with noise in place of a flip."""
    return squared_miss(there - here)


#: Losses of the methods, which obey the rule.
OBEYING: Mapping[str, OfPairs] = {
    "minimum_probability_flow": probability_flow,
    "conditional_nce": conditional_contrast,
    "ratio_matching": ratio_missed,
}


def derivatives(loss: OfPairs) -> tuple[float, float]:
    """f'(0) and f''(0) of f(a), the loss at E(x) = 0 and E(x') = a."""
    a = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(loss(torch.zeros_like(a), a), a, create_graph=True)
    # That of a linear loss is a constant.
    second = torch.autograd.grad(first, a)[0] if first.requires_grad else torch.zeros(())
    return float(first.detach()), float(second)


def curvature_ratio(loss: OfPairs) -> float:
    """κ = -f''(0)/f'(0): one half for losses that become score matching."""
    first, second = derivatives(loss)
    return -second / first


def noise_limit(energy: Energy, x: Tensor, ratio: float) -> Tensor:
    """κ ‖∇E‖² - ΔE at ``x`` (n, *event), shape (n,), with κ = ``ratio``.

    By parts its expectation under q is that of κ ‖∇E‖² + ∇E·∇log q, which is least at ∇E = -∇log q / (2κ): the law that is learned is
    q to the power 1/(2κ), the data's at temperature 2κ. One half, score matching, is the only κ that learns the data's.
    """
    _, slope, laplacian = slope_and_laplacian(energy, x)
    return ratio * slope.flatten(1).square().sum(1) - laplacian


class RatioRule(Limit):
    """E_z f(E(x + εz) - E(x)) becomes -f'(0) ε² (½ ‖∇E‖² - ΔE)/2 where f''(0) = -f'(0)/2, and another objective elsewhere.

    Taylor's theorem: the mean of E(x + εz) - E(x) is (ε²/2) ΔE, that of its square ε² ‖∇E‖², both but for ε⁴. The example that disobeys
    is f(a) = exp(-a), minimum probability flow without its square root: it has κ = 1 and learns the data's law at twice the temperature.
    """

    name = "ratio_rule"
    revision = 1
    title = "f(a) = exp(−a), against ‖∇E‖² − ΔE"
    statement = "E_z f(E(x + εz) − E(x)) = f(0) − f′(0) (ε²/2)[κ‖∇E‖² − ΔE] + O(ε⁴), κ = −f″(0)/f′(0); J iff κ = ½"
    source = "Sohl-Dickstein et al. 2011; Ceylan & Gutmann 2018"
    methods = (*OBEYING, "score_matching")
    panel = "rule"
    legend: ClassVar[Mapping[str, str]] = {
        "gradient": title,
        "against_j": "the same, against J",
        "missed": "f(a) = σ(−a)², against J",
    }
    order = 2
    constant = 1.0

    @staticmethod
    def mean(of_pairs: OfPairs, energy: Energy, x: Tensor, step: float) -> Tensor:
        """E_z f(E(x + εz) - E(x)), shape (n,), of any f."""
        return expected(x, lambda here, z: of_pairs(energy(here), energy(here + step * z)))

    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return self.mean(whole_ratio, energy, x, step)

    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return step**2 / 2 * noise_limit(energy, x, curvature_ratio(whole_ratio))

    @staticmethod
    def score_matching(of_pairs: OfPairs, energy: Energy, x: Tensor, step: float) -> Tensor:
        """-f'(0) (ε²/2) J, shape (n,): what f would come to if it obeyed."""
        return -derivatives(of_pairs)[0] * step**2 / 2 * implicit_score_matching(energy, x)

    def errors(self, shape: Sequence[int]) -> dict[str, np.ndarray]:
        """Also of the disobeying loss against score matching, where it stays, and of ratio matching's, which comes to it."""

        def against_j(of_pairs: OfPairs) -> np.ndarray:
            found = gradients(shape, lambda energy, x, step: self.mean(of_pairs, energy, x, step), STEPS)
            return self.compared(found, shape, lambda energy, x, step: self.score_matching(of_pairs, energy, x, step))

        return super().errors(shape) | {"against_j": against_j(whole_ratio), "missed": against_j(ratio_missed)}

    def measure(self) -> Measured:
        found = super().measure()
        ratios = {f"ratio_{name}": curvature_ratio(loss) for name, loss in {**OBEYING, "whole": whole_ratio}.items()}
        return Measured(found.arrays, {**found.numbers, **ratios})
