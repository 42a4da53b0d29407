"""A network with which energies are Gaussians, so that what a method learns is known in closed form: name it by its import path."""

import torch
from torch import nn

from ebmpipe.energies import BASE_WIDTH, gradient
from ebmpipe.nets.base import EnergyNetwork, NetworkSettings
from ebmpipe.noise_levels import SHARE


class QuadraticNetwork(EnergyNetwork):
    """f(z) = ½ zᵀAz + bᵀz with A symmetric, both zero at first; z is the standardised input, flattened."""

    name = "quadratic_network:QuadraticNetwork"
    revision = 1
    kinds = frozenset({"density", "vectors", "images"})
    Config = NetworkSettings

    def __init__(self, shape, config):
        super().__init__(shape, config)
        dimension = torch.Size(shape).numel()
        self.matrix = nn.Parameter(torch.zeros(dimension, dimension))
        self.offset = nn.Parameter(torch.zeros(dimension))

    def forward(self, x):
        z = x.flatten(1)
        return (self.slope(z) + self.offset).mul(z).sum(1) / 2

    def slope(self, z):
        return z @ (self.matrix + self.matrix.T) / 2 + self.offset

    def slope_and_laplacian(self, x):
        return self(x), self.slope(x.flatten(1)).view(x.shape), self.matrix.trace().expand(len(x))


class SmoothedQuadraticNetwork(EnergyNetwork):
    """What makes E(x, σ) of `ebmpipe.noise_levels.NoisyEnergies` that of N(m, C + σ²I) for every σ, with C = LLᵀ and m its weights.

    Its last input is the level, its others are x in units in which their variance is one: from both it takes x and σ in units of the data's
    deviation, and takes off what the base adds.
    """

    name = "quadratic_network:SmoothedQuadraticNetwork"
    revision = 1
    kinds = frozenset({"vectors"})
    Config = NetworkSettings

    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.factor = nn.Parameter(torch.eye(shape[0] - 1))
        self.mean = nn.Parameter(torch.zeros(shape[0] - 1))

    def forward(self, x):
        variance = (2 / SHARE * x[:, -1:]).exp()
        y = x[:, :-1] * (1 + variance).sqrt()
        # Levels are few: one inverse of each, which nothing differentiates in the level.
        each, which = variance[:, 0].detach().unique(return_inverse=True)
        precisions = (self.factor @ self.factor.T + each[:, None, None] * torch.eye(len(self.mean))).inverse()
        solved = ((y - self.mean) @ precisions)[which, torch.arange(len(x))]
        return ((y - self.mean) * solved).sum(1) / 2 - (y.square() / (2 * (BASE_WIDTH**2 + variance))).sum(1)


def gaussian_of(energy, shape):
    """Mean (D,) and covariance (D, D) of the Gaussian law exp(-E), float64, from ∇E(x) = C⁻¹(x - m), which is linear in x."""
    dimension = torch.Size(shape).numel()
    points = torch.cat([torch.zeros(1, dimension), torch.eye(dimension)]).view(-1, *shape)
    slopes = gradient(energy, points).detach().flatten(1).double()
    precision = slopes[1:] - slopes[0]
    precision = (precision + precision.T) / 2
    return -torch.linalg.solve(precision, slopes[0]), precision.inverse()
