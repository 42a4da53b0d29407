"""A multilayer perceptron whose input gradient is written by hand."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe.nets.base import EnergyNetwork, NetworkSettings
from ebmpipe.spec import Kind


class MLPConfig(NetworkSettings):
    """Settings of `MLP`."""

    width: int = Field(128, ge=1, description="units per hidden layer")
    depth: int = Field(2, ge=1, description="number of hidden layers")
    gain: float = Field(1.0, gt=0, description="factor on the standardised input: larger means finer structure at the start of training")


class MLP(EnergyNetwork):
    """f(x) = wᵀ h_L + b with h_l = SiLU(W_l h_{l-1} + b_l), h_0 = x flattened.

    SiLU because it is smooth (score matching differentiates twice) and several times cheaper than tanh or softplus.
    """

    name = "mlp"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors", "images"})
    Config = MLPConfig

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings) -> None:
        super().__init__(shape, config)
        assert isinstance(config, MLPConfig)
        sizes = [prod(shape)] + [config.width] * config.depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(config.width, 1)
        self.gain = config.gain
        with torch.no_grad():
            self._layers()[0].weight.mul_(self.gain)
        self._workspace: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """f(x), shape (n,)."""
        h = x.flatten(1)
        for layer in self.hidden:
            h = functional.silu(layer(h))
        value: Tensor = self.head(h).squeeze(1)
        return value

    def _layers(self) -> list[nn.Linear]:
        """The hidden layers."""
        return cast(list[nn.Linear], list(self.hidden))

    def _buffers_for(self, x: Tensor) -> list[Tensor]:
        """Two buffers per hidden layer, kept between calls: at a few hundred chains allocation is a third of the time."""
        key = (x.shape[0], x.dtype, x.device)
        if key not in self._workspace:
            self._workspace.clear()
            self._workspace[key] = [x.new_empty(x.shape[0], self.head.in_features) for _ in range(2 * len(self.hidden))]
        return self._workspace[key]

    def _forward_by_hand(self, x: Tensor) -> list[Tensor]:
        """Fills the workspace with pre-activations a_1, ..., a_L and activations h_1, ..., h_L."""
        buffers = self._buffers_for(x)
        depth, h = len(self.hidden), x
        for index, layer in enumerate(self._layers()):
            torch.addmm(layer.bias, h, layer.weight.t(), out=buffers[index])
            h = torch.ops.aten.silu.out(buffers[index], out=buffers[depth + index])
        return buffers

    def _backward_by_hand(self, buffers: list[Tensor], n: int) -> Tensor:
        """∂f/∂x from the last layer down; overwrites the activations, which are no longer needed."""
        layers = self._layers()
        depth = len(layers)
        delta: Tensor = self.head.weight.expand(n, -1)
        for index in reversed(range(depth)):
            pre, out = buffers[index], buffers[depth + index]
            torch.ops.aten.silu_backward.grad_input(delta, pre, grad_input=out)
            if index:
                delta = torch.mm(out, layers[index].weight, out=buffers[index])
        return torch.mm(out, layers[0].weight)

    @torch.no_grad()
    def grad(self, x: Tensor) -> Tensor:
        """∂f/∂x, shape of ``x``, without autograd and without evaluating the head."""
        buffers = self._forward_by_hand(x.flatten(1))
        return self._backward_by_hand(buffers, x.shape[0]).view(x.shape)

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and ∂f/∂x in one pass."""
        buffers = self._forward_by_hand(x.flatten(1))
        value = torch.addmm(self.head.bias, buffers[-1], self.head.weight.t()).squeeze(1)
        return value, self._backward_by_hand(buffers, x.shape[0]).view(x.shape)
