"""A network that contains every Gaussian: with it, what a method's optimum is can be read off its weights."""

from math import prod

import torch
from torch import nn

from ebmpipe.nets.base import EnergyNetwork, NetworkSettings


class Quadratic(EnergyNetwork):
    """f(z) = ½ zᵀAz + bᵀz with A symmetric, zero at first."""

    name = "quadratic"
    revision = 1
    kinds = frozenset({"density", "vectors", "images"})
    Config = NetworkSettings

    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.weight = nn.Parameter(torch.zeros(prod(shape), prod(shape)))
        self.slope = nn.Parameter(torch.zeros(prod(shape)))

    def forward(self, x):
        z = x.flatten(1)
        return (z @ self.weight * z).sum(1) / 2 + z @ self.slope


def gaussian_of(energy, dimension):
    """Mean (D,) and covariance (D, D) of the Gaussian whose energy is quadratic."""
    origin = torch.zeros(1, dimension, dtype=torch.float64)
    value = torch.func.grad(lambda x: energy(x.float()).double().sum())
    precision = torch.func.jacfwd(lambda x: value(x).flatten())(origin).view(dimension, dimension)
    covariance = torch.linalg.inv(precision)
    return -covariance @ value(origin).flatten(), covariance
