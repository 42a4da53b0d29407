"""A multilayer perceptron of leaky rectifiers."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.activations import LeakyReLU
from ebmpipe.nets.perceptron import Perceptron, PerceptronConfig


class LeakyMLPConfig(PerceptronConfig):
    """Settings of `LeakyMLP`."""

    width: int = Field(300, ge=1, description="units per hidden layer")


class LeakyMLP(Perceptron):
    """A linear head on h_L, with h_l = max(a_l, a_l/5), a_l = W_l h_{l-1} + b_l, h_0 = x flattened: linear between kinks.

    It bends as sharply as it can at every scale, where smooth units are nearly linear if their weights are small: a tangent kernel of it at
    its initialisation resolves more. Neklyudov, Jaini & Welling (2021) draw theirs from it, with 2 × 300 units. Its Laplacian is zero
    wherever there is one: (sliced) score matching refuses it.
    """

    name = "leaky_mlp"
    revision = 1
    Config = LeakyMLPConfig

    @staticmethod
    def activation(units: int) -> LeakyReLU:
        return LeakyReLU()

    def _activate(self, index: int, pre: Tensor, out: Tensor) -> None:
        torch.ops.aten.leaky_relu.out(pre, LeakyReLU.SLOPE, out=out)

    def _back(self, delta: Tensor, pre: Tensor, out: Tensor) -> None:
        torch.ops.aten.leaky_relu_backward.grad_input(delta, pre, LeakyReLU.SLOPE, False, grad_input=out)
