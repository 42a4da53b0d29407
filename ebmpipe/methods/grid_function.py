"""A function of the plane by its values on a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Points per side, and how far the grid reaches, in standard deviations of the data: steps of 0.1 on eight Gaussians.
SIDE, REACH = 128, 3.0


class GridFunction(nn.Module):
    """f(x) on standardised points, bilinear between its values at nodes, which are its weights and 0 at first; constant beyond the edge.

    Args:
        side: nodes per side.
        reach: the grid is [-reach, reach]².

    Attributes:
        values: f at the nodes, (side, side), second coordinate first.
        nodes: where they are, (side², 2), in the order of ``values``.
    """

    nodes: Tensor

    def __init__(self, side: int = SIDE, reach: float = REACH) -> None:
        super().__init__()
        self.reach = reach
        self.values = nn.Parameter(torch.zeros(side, side))
        ticks = torch.linspace(-reach, reach, side)
        self.register_buffer("nodes", torch.cartesian_prod(ticks, ticks).flip(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """f(x), (n,), of points (n, 2)."""
        at = (x / self.reach).view(1, -1, 1, 2)
        found: Tensor = nn.functional.grid_sample(self.values[None, None], at, padding_mode="border", align_corners=True)
        return found.view(-1)
