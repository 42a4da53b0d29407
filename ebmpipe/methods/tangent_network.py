"""A network to first order in its weights: an energy that is linear in what is learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ebmpipe.nets.base import EnergyNetwork, HeadedNetwork, energy_of_logits
from ebmpipe.nets.perceptron import Perceptron


class Outputs(nn.Module):
    """What a network's head says, (n, outputs), as a module: that is what is linear in the weights."""

    def __init__(self, network: EnergyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a classifier, or f as the only one, (n, outputs)."""
        network = self.network
        result: Tensor = network.outputs_at(x) if isinstance(network, HeadedNetwork) else network(x)[:, None]
        return result


class TangentNetwork(nn.Module):
    """f(x) = Σ_m ⟨∇_ψ f_m(x), W_m⟩ / √M over M networks at their random initial weights ψ_m, which stay; W is learned, from 0.

    Gradient descent in W is that in the space of functions with the kernel k(x, y) = (1/M) Σ_m ⟨∇_ψ f_m(x), ∇_ψ f_m(y)⟩, which
    estimates the tangent kernel of the architecture at its initialisation (Jacot, Gabriel & Hongler 2018) and tends to it with M.

    Of a network with logits, l_y, each logit is made so, and f = -log Σ_y exp l_y.

    Args:
        make: makes one network, (n, *event) -> (n,), with new random weights.
        members: M.
        classes: how many logits it has; None: it has f itself.
    """

    def __init__(self, make: Callable[[], EnergyNetwork], members: int, classes: int | None = None) -> None:
        super().__init__()
        self.classes = classes
        networks = [Outputs(make()).requires_grad_(False) for _ in range(members)]
        # The skeleton gives the architecture; its own weights are never used, and belong to no state.
        self._skeleton = [networks[0]]
        self.names = [name for name, _ in networks[0].named_parameters()]
        self.scale = members**-0.5
        stacked = [torch.stack([dict(network.named_parameters())[name] for network in networks]) for name in self.names]
        for index, value in enumerate(stacked):
            self.register_buffer(f"initial_{index}", value.detach())
        self.weights = nn.ParameterList(torch.zeros_like(value) for value in stacked)

    def outputs_at(self, x: Tensor) -> Tensor:
        """f itself, or the logits, (n, outputs)."""
        skeleton = self._skeleton[0]
        initial = [self.get_buffer(f"initial_{index}") for index in range(len(self.names))]
        network = skeleton.network
        if isinstance(network, Perceptron) and not list(network.activations.parameters()):
            # The same derivative layer by layer: products of matrices in place of a transform of them, at half the time.
            names = [name.removeprefix("network.") for name in self.names]
            each = [
                network.along_weights(x, dict(zip(names, weights, strict=True)), dict(zip(names, direction, strict=True)))
                for weights, direction in zip(zip(*initial, strict=True), zip(*self.weights, strict=True), strict=True)
            ]
            by_layers: Tensor = self.scale * torch.stack(each).sum(0)
            return by_layers

        def member(weights: list[Tensor], direction: list[Tensor]) -> Tensor:
            def at(*values: Tensor) -> Tensor:
                value: Tensor = torch.func.functional_call(skeleton, dict(zip(self.names, values, strict=True)), (x,))
                return value

            along: Tensor = torch.func.jvp(at, tuple(weights), tuple(direction))[1]
            return along

        outputs: Tensor = self.scale * torch.vmap(member)(initial, list(self.weights)).sum(0)
        return outputs

    def with_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) in nats, (n,), and the logits (n, classes) that it is made of."""
        outputs = self.outputs_at(x)
        return energy_of_logits(outputs), outputs

    def forward(self, x: Tensor) -> Tensor:
        """f(x) in nats, (n,)."""
        outputs = self.outputs_at(x)
        return outputs.squeeze(1) if self.classes is None else energy_of_logits(outputs)
