"""A multilayer perceptron whose units learn how sharply they bend."""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.activations import Swish
from ebmpipe.nets.perceptron import Perceptron, PerceptronConfig


class SwishMLPConfig(PerceptronConfig):
    """Settings of `SwishMLP`."""

    width: int = Field(300, ge=1, description="units per hidden layer")


class SwishMLP(Perceptron):
    """A linear head on h_L, with h_l = a_l σ(β_l a_l), a_l = W_l h_{l-1} + b_l, h_0 = x flattened, and β_l learned, one of each unit.

    At first, where β = 1, it is `mlp` of the same weights. Spectral normalisation leaves β free, as it does biases: the steepest slope of
    a σ(βa) is the same for every β. Neklyudov, Jaini & Welling (2021) have it, with 2 × 300 units, for densities in the plane.
    """

    name = "swish_mlp"
    revision = 1
    Config = SwishMLPConfig

    @staticmethod
    def activation(units: int) -> Swish:
        return Swish(units)

    def _activate(self, index: int, pre: Tensor, out: Tensor) -> None:
        beta = cast(Swish, self.activations[index]).beta
        torch.mul(pre, beta, out=out)
        out.sigmoid_().mul_(pre)
        pre.mul_(beta)
