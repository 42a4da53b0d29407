"""A network from vectors to events: critic of a Stein discrepancy, generator of an adversarial bound."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import Model, OptimiserConfig
from ebmpipe.products import Linear


class EventMapConfig(Model):
    """Size of an `EventMap`, and how it is updated."""

    width: int = Field(128, ge=1, description="units per hidden layer")
    depth: int = Field(2, ge=1, description="number of hidden layers")
    gain: float = Field(1.0, gt=0, description="factor on the first layer's initial weights: larger means finer structure at the start")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="of Adam, at its peak, under the schedule of the energy's")
    betas: tuple[float, float] = Field((0.5, 0.9), description="Adam's decay of the first and second moment")

    def optimiser(self, like: OptimiserConfig) -> OptimiserConfig:
        """How it is updated: under schedule, weight average and bounds of divergence of an energy updated ``like`` this."""
        return OptimiserConfig(
            learning_rate=self.learning_rate,
            betas=self.betas,
            gradient_clip=10.0,
            schedule=like.schedule,
            average_decay=like.average_decay,
            loss_bound=like.loss_bound,
            gradient_bound=like.gradient_bound,
            energy_bound=like.energy_bound,
        )


class EventMap(nn.Module):
    """x -> Ax + h(x), with h a multilayer perceptron (SiLU): (n, inputs) -> (n, *event).

    The linear part is all that Gaussians need, exactly.

    Args:
        inputs: numbers in an input, which is flattened.
        shape: event shape of outputs.
        config: its size.
    """

    def __init__(self, inputs: int, shape: tuple[int, ...], config: EventMapConfig) -> None:
        super().__init__()
        self.shape = shape
        sizes = [inputs] + [config.width] * config.depth
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [Linear(a, b), nn.SiLU()]
        self.perceptron = nn.Sequential(*layers, nn.Linear(config.width, prod(shape)))
        self.linear = nn.Linear(inputs, prod(shape), bias=False)
        with torch.no_grad():
            self.perceptron[0].get_parameter("weight").mul_(config.gain)

    def forward(self, x: Tensor) -> Tensor:
        """The event of each input, (n, *event)."""
        x = x.flatten(1)
        value: Tensor = self.linear(x) + self.perceptron(x)
        return value.view(-1, *self.shape)

    @torch.no_grad()
    def jacobian(self, x: Tensor) -> Tensor:
        """Its derivative at each input, (n, numbers in an event, inputs), a constant; by the chain rule forwards, as inputs are few."""
        value = x.flatten(1)
        derivative = torch.eye(value.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
        for layer in self.perceptron:
            if isinstance(layer, nn.Linear):
                value, derivative = layer(value), layer.weight @ derivative
            else:
                s = torch.sigmoid(value)
                derivative = (s * (1 + value * (1 - s))).unsqueeze(2) * derivative
                value = value * s
        return self.linear.weight + derivative
