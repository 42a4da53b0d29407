"""A multilayer perceptron of SiLU units."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmpipe.activations import SiLU
from ebmpipe.nets.perceptron import Perceptron, PerceptronConfig


class MLPConfig(PerceptronConfig):
    """Settings of `MLP`."""


class MLP(Perceptron):
    """A linear head on h_L, with h_l = SiLU(W_l h_{l-1} + b_l), h_0 = x flattened.

    SiLU because it is smooth (score matching differentiates twice) and several times cheaper than tanh or softplus.
    """

    name = "mlp"
    revision = 1
    Config = MLPConfig

    @staticmethod
    def activation(units: int) -> SiLU:
        return SiLU()

    def _activate(self, index: int, pre: Tensor, out: Tensor) -> None:
        torch.ops.aten.silu.out(pre, out=out)
