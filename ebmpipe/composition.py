"""Laws made of two others: their product, their mixture, and the one without the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ebmpipe.energies import Energy, GaussianLaw, Law, support_of, value_and_gradient
from ebmpipe.learned_base import LearnedGaussian

By = Literal["product", "mixture", "difference"]
#: E₁, E₂ -> E, and the factors of ∇E₁ and ∇E₂ in ∇E.
Parts = tuple[Tensor, tuple[Tensor | float, Tensor | float]]


class NoLaw(ValueError):
    """Raised where a composition has no integral; its text says what hinders it."""


class Composition(ABC):
    """An energy made of two that are normalised: E₁ = -log p₁ and E₂ = -log p₂, in nats.

    Args:
        first: E₁, (n, *event) -> (n,), up to a constant.
        second: E₂.
        weight: how much the second counts.
        log_z: the log-partitions that normalise the two; zero of energies that are so.

    Raises:
        ValueError: if the weight is out of range, or an energy lives on a box.
    """

    default_weight: ClassVar[float]
    sign: ClassVar[str]

    def __init__(self, first: Energy, second: Energy, weight: float | None = None, log_z: tuple[float, float] = (0.0, 0.0)) -> None:
        self.first, self.second, self.log_z = first, second, log_z
        self.weight = self.default_weight if weight is None else weight
        if not 0 < self.weight < math.inf:
            raise ValueError(f"the weight of the second law must be above 0, not {self.weight:g}")
        if support_of(first) or support_of(second):
            raise ValueError("energies on a box are not composed: one outside of the other's box has no gradient there")

    @abstractmethod
    def combined(self, first: Tensor, second: Tensor) -> Parts:
        """E of the values E₁ and E₂, both (n,), and what of each one's gradient is in its own."""

    def __call__(self, x: Tensor) -> Tensor:
        """E(x) in nats, (n,)."""
        return self.combined(self.first(x) + self.log_z[0], self.second(x) + self.log_z[1])[0]

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E(x), and its input gradient, shape of ``x``."""
        (one, one_slope), (other, other_slope) = value_and_gradient(self.first, x), value_and_gradient(self.second, x)
        value, factors = self.combined(one + self.log_z[0], other + self.log_z[1])
        wide = (len(x), *[1] * (x.dim() - 1))
        of_one, of_other = (factor.view(wide) if isinstance(factor, Tensor) else factor for factor in factors)
        return value, of_one * one_slope + of_other * other_slope

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient alone."""
        return self.value_and_grad(x)[1]


class Product(Composition):
    """p ∝ p₁ p₂^w: what both say is likely (Hinton 2002). E = E₁ + w E₂."""

    default_weight = 1.0
    sign = "×"

    def combined(self, first: Tensor, second: Tensor) -> Parts:
        return first + self.weight * second, (1.0, self.weight)


class Mixture(Composition):
    """p = (1 - w) p₁ + w p₂: what either says is likely (Du, Li & Mordatch 2020, with weights). E = -log((1 - w) e^-E₁ + w e^-E₂)."""

    default_weight = 0.5
    sign = "+"

    def __init__(self, first: Energy, second: Energy, weight: float | None = None, log_z: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__(first, second, weight, log_z)
        if not self.weight < 1:
            raise ValueError(f"a mixture's weight is the share of the second law, below 1: it cannot be {self.weight:g}")

    def combined(self, first: Tensor, second: Tensor) -> Parts:
        logs = torch.stack([math.log1p(-self.weight) - first, math.log(self.weight) - second])
        shares = logs.softmax(0)
        return -logs.logsumexp(0), (shares[0], shares[1])


class Difference(Composition):
    """p ∝ p₁ / p₂^w: what the first says is likely, and least so where the second does. E = E₁ - w E₂.

    Du, Li & Mordatch (2020) call it negation. It is a law only if E₁ rises faster than w E₂: see `check_proper`.
    """

    default_weight = 0.2
    sign = "/"

    def combined(self, first: Tensor, second: Tensor) -> Parts:
        return first - self.weight * second, (1.0, -self.weight)


COMPOSITIONS: dict[By, type[Composition]] = {"product": Product, "mixture": Mixture, "difference": Difference}


def check_proper(weight: float, first: Law, second: Law) -> None:
    """That p₁ / p₂^w has an integral, if far out p₁ and p₂ fall as their Gaussian bases: w < (σ₂ / σ₁)², in every coordinate.

    Raises:
        NoLaw: if it has none, or a base is no Gaussian, of which it is not known.
    """
    widths = []
    for base in (first, second):
        if not isinstance(base, GaussianLaw | LearnedGaussian):
            raise NoLaw("a difference is taken of energies on Gaussian bases; how fast another law falls far out is not known")
        widths.append(torch.as_tensor(base.std, dtype=torch.float64).detach())
    one, other = widths
    bound = float((other / one).square().min())
    if not weight < bound:
        raise NoLaw(
            f"far out the difference rises, as its second energy, times {weight:g}, outgrows the first; "
            f"set its weight below {bound:.4g}, the ratio of their bases' variances"
        )
