"""What limits are measured on: an energy with a few weights, points, and expectations over Gaussian noise without sampling it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ebmpipe.seeding import torch_generator

#: Points that stand for the data.
POINTS = 6
#: Gauss-Hermite nodes per coordinate: many in one dimension, and of a product of D rules about this many in all.
NODES, PRODUCT = 24, 3000


class Waves(nn.Module):
    """E(x) = a Σ xᵢ⁴/4 + b ‖x‖²/2 + Σⱼ cⱼ sin(wⱼ·x + φⱼ), smooth and neither convex nor linear in its weights, over any event shape."""

    def __init__(self, shape: Sequence[int], seed: int = 0, waves: int = 3) -> None:
        super().__init__()
        generator = torch_generator(seed, "theorems", "energy", *shape)

        def drawn(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        dimension = math.prod(shape)
        self.quartic = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.quadratic = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))
        self.amplitude = nn.Parameter(1 + 0.3 * drawn(waves))
        self.frequency = nn.Parameter(1.2 * drawn(waves, dimension) / math.sqrt(dimension))
        self.phase = nn.Parameter(drawn(waves))

    def forward(self, x: Tensor) -> Tensor:
        """E in nats, shape (n,), of ``x`` (n, *shape)."""
        flat = x.flatten(1)
        bowl = self.quartic * flat.pow(4).sum(1) / 4 + self.quadratic * flat.square().sum(1) / 2
        waves: Tensor = torch.sin(flat @ self.frequency.T + self.phase) @ self.amplitude
        return bowl + waves


def points(shape: Sequence[int], seed: int = 0) -> Tensor:
    """``POINTS`` fixed points (n, *shape): what holds at every point holds for every data set."""
    return torch.randn(POINTS, *shape, generator=torch_generator(seed, "theorems", "points", *shape), dtype=torch.float64)


def directions(shape: Sequence[int], seed: int = 0) -> Tensor:
    """A unit vector for each point, (n, *shape)."""
    v = torch.randn(POINTS, *shape, generator=torch_generator(seed, "theorems", "directions", *shape), dtype=torch.float64)
    lengths: Tensor = v.flatten(1).norm(dim=1).view(-1, *[1] * len(shape))
    return v / lengths


def gauss_hermite(shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Nodes (m, *shape) and weights (m,) of a quadrature for z ~ N(0, I): the product of Gauss-Hermite rules over the coordinates."""
    dimension = math.prod(shape)
    count = min(NODES, int(PRODUCT ** (1 / dimension) + 1e-9))
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(count))
    weights = weights / weights.sum()
    z = torch.cartesian_prod(*[nodes] * dimension).view(-1, *shape)
    return z, torch.cartesian_prod(*[weights] * dimension).view(len(z), -1).prod(1)


def expected(x: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """E_z[loss(x, z)] over z ~ N(0, I), shape (n,), for a loss of pairs (m, *event) with one value for each."""
    z, weights = gauss_hermite(x.shape[1:])
    pairs = x.repeat_interleave(len(z), dim=0), z.repeat(len(x), *[1] * (x.ndim - 1))
    return loss(*pairs).view(len(x), len(z)) @ weights
