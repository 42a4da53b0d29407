"""Elementwise activations that give their own derivatives: what Laplacians that go forward through a network ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class Activation(nn.Module, ABC):
    """A function φ that is applied to every unit by itself, twice differentiable almost everywhere.

    Attributes:
        smooth: whether it is so everywhere: then second derivatives say how φ bends, and else nothing.
    """

    smooth: ClassVar[bool] = True

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """φ(x), shape of ``x``."""

    @abstractmethod
    def to_second_order(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """φ(x), φ'(x) and φ''(x), each of the shape of ``x``, as functions of ``x`` and of the weights, if it has any."""


def sigmoid_and_slopes(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """σ(u), and the first and second derivative of u σ(u), each of the shape of ``u``."""
    s = torch.sigmoid(u)
    return s, s * (1 + u * (1 - s)), s * (1 - s) * (2 + u * (1 - 2 * s))


class SiLU(Activation):
    """x σ(x) with the logistic function σ."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    def to_second_order(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, first, second = sigmoid_and_slopes(x)
        return x * s, first, second


class LeakyReLU(Activation):
    """x where x > 0, else x/5: linear but for a kink, so that its second derivative is zero wherever there is one."""

    smooth = False
    SLOPE: ClassVar[float] = 0.2

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.SLOPE)

    def to_second_order(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = torch.where(x > 0, 1.0, self.SLOPE).to(x)
        return self(x), first, torch.zeros_like(x)


class Swish(Activation):
    """x σ(βx) with a β of its own for every unit, which is learned (Ramachandran, Zoph & Le 2017); SiLU at first, where β = 1.

    From the linear x/2 at β = 0 it goes to the kink of a rectifier at β = ∞: β says how sharply a unit may bend.

    Args:
        units: how many there are: the last dimension of its input.

    Attributes:
        beta: β, (units,).
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(units))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)

    def to_second_order(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # With u = βx it is u σ(u) / β.
        s, first, second = sigmoid_and_slopes(self.beta * x)
        return x * s, first, self.beta * second


#: Those without weights, by the names that settings have for them.
ACTIVATIONS: Mapping[str, type[Activation]] = {"silu": SiLU, "leaky_relu": LeakyReLU}
