"""What multilayer perceptrons share: layers, and input gradients that are written by hand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.activations import Activation
from ebmpipe.nets.base import HeadedNetwork, NetworkSettings, energy_of_logits
from ebmpipe.products import Linear, affine, linear
from ebmpipe.spec import Kind


class PerceptronConfig(NetworkSettings):
    """Settings of every `Perceptron`."""

    width: int = Field(128, ge=1, description="units per hidden layer")
    depth: int = Field(2, ge=1, description="number of hidden layers")
    gain: float = Field(1.0, gt=0, description="factor on the standardised input: larger means finer structure at the start of training")


class Perceptron(HeadedNetwork):
    """A linear head on h_L, with h_l = φ_l(W_l h_{l-1} + b_l), h_0 = x flattened.

    Every unit's φ is a σ(βa) with the logistic function σ and some β, unless a subclass says how to go back through another: the gradient
    by hand rests on φ'(a) being SiLU's at βa.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors", "images", "binary"})
    Config = PerceptronConfig

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings, classes: int | None = None) -> None:
        super().__init__(shape, config, classes)
        assert isinstance(config, PerceptronConfig)
        sizes = [prod(shape)] + [config.width] * config.depth
        self.hidden = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
        self.activations = nn.ModuleList(self.activation(config.width) for _ in range(config.depth))
        self.head = nn.Linear(config.width, self.outputs)
        self.gain = config.gain
        with torch.no_grad():
            self._layers()[0].weight.mul_(self.gain)
        self._workspace: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}

    @staticmethod
    @abstractmethod
    def activation(units: int) -> Activation:
        """A new φ of a layer of ``units``; its weights, if it has any, take no random numbers."""

    @abstractmethod
    def _activate(self, index: int, pre: Tensor, out: Tensor) -> None:
        """Write h = a σ(βa) of layer ``index``, whose a is in ``pre``, to ``out``, and leave in ``pre`` βa, in which φ' is that of SiLU."""

    def _back(self, delta: Tensor, pre: Tensor, out: Tensor) -> None:
        """Write φ'(a) ``delta`` to ``out``, of a layer for which ``pre`` is what `_activate` has left there."""
        torch.ops.aten.silu_backward.grad_input(delta, pre, grad_input=out)

    def features(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for layer, activation in zip(self.hidden, self.activations, strict=True):
            h = activation(layer(h))
        return h

    def along_weights(self, x: Tensor, at: Mapping[str, Tensor], direction: Mapping[str, Tensor]) -> Tensor:
        """The derivative of the outputs at ``x`` along a direction of the weights, in one pass forward: (n, outputs), differentiable.

        Args:
            x: (n, *event).
            at: weights by name, in the place of its own.
            direction: the direction, by the same names.

        Raises:
            ValueError: if its activations have weights.
        """
        if any(True for _ in self.activations.parameters()):
            raise ValueError(f"{type(self).name} has activations with weights")
        h, rate = x.flatten(1), None
        for index, activation in enumerate(self.activations):
            name = f"hidden.{index}"
            a = linear(h, at[f"{name}.weight"], at[f"{name}.bias"])
            rise = linear(h, direction[f"{name}.weight"], direction[f"{name}.bias"])
            rise = rise if rate is None else rise + linear(rate, at[f"{name}.weight"])
            h, slope, _ = cast(Activation, activation).to_second_order(a)
            rate = slope * rise
        outputs = linear(h, direction["head.weight"], direction["head.bias"])
        return outputs if rate is None else outputs + linear(rate, at["head.weight"])

    @property
    def layers(self) -> list[nn.Module]:
        hidden = zip(self.hidden, self.activations, strict=True)
        return [nn.Flatten(), *(part for pair in hidden for part in pair), self.head]

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
        """β_l a_l of the pre-activations a_1, ..., a_L, then the activations h_1, ..., h_L; most of them in the workspace."""
        buffers = list(self._buffers_for(x))
        depth, h = len(self.hidden), x
        for index, layer in enumerate(self._layers()):
            buffers[index] = affine(h, layer.weight, layer.bias, buffers[index])
            h = buffers[depth + index]
            self._activate(index, buffers[index], h)
        return buffers

    def _outputs_by_hand(self, buffers: list[Tensor]) -> Tensor:
        """What the head makes of the last activations, (n, outputs)."""
        return torch.addmm(self.head.bias, buffers[-1], self.head.weight.t())

    def _backward_by_hand(self, buffers: list[Tensor], n: int, logits: Tensor | None) -> Tensor:
        """∂f/∂x from the last layer down; overwrites the activations, which are no longer needed.

        At the last of them it is the head's only weight, or minus the mean of the classes' by their probabilities.
        """
        layers = self._layers()
        depth = len(layers)
        delta: Tensor = self.head.weight.expand(n, -1) if logits is None else -(logits.softmax(1) @ self.head.weight)
        for index in reversed(range(depth)):
            pre, out = buffers[index], buffers[depth + index]
            self._back(delta, pre, out)
            if index:
                delta = affine(out, layers[index].weight.t(), None, buffers[index])
        return torch.mm(out, layers[0].weight)

    @torch.no_grad()
    def grad(self, x: Tensor) -> Tensor:
        """∂f/∂x, shape of ``x``, without autograd and, where the head has one output, without evaluating it."""
        buffers = self._forward_by_hand(x.flatten(1))
        logits = None if self.classes is None else self._outputs_by_hand(buffers)
        return self._backward_by_hand(buffers, x.shape[0], logits).view(x.shape)

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and ∂f/∂x in one pass."""
        buffers = self._forward_by_hand(x.flatten(1))
        outputs = self._outputs_by_hand(buffers)
        value, logits = (outputs.squeeze(1), None) if self.classes is None else (energy_of_logits(outputs), outputs)
        return value, self._backward_by_hand(buffers, x.shape[0], logits).view(x.shape)
