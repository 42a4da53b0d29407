"""Single flips of states: how the energy changes where one coordinate changes its sign."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: States per call of an energy: large enough to be efficient, small enough for any memory.
CHUNK = 16384


def flipped(x: Tensor, sites: Tensor) -> Tensor:
    """States with one coordinate of the other sign, (n, k, *event).

    Args:
        x: states (n, *event), every coordinate -1 or 1.
        sites: coordinates of the flattened event, (n, k) int64: the j-th copy of example i has x_s → -x_s at s = sites[i, j].
    """
    flat = x.flatten(1)
    copies = flat.unsqueeze(1).repeat(1, sites.shape[1], 1)
    copies.scatter_(2, sites.unsqueeze(2), -flat.gather(1, sites).unsqueeze(2))
    return copies.view(*sites.shape, *x.shape[1:])


def all_sites(x: Tensor) -> Tensor:
    """Every coordinate of every example of ``x`` (n, *event): 0 … D - 1 in each of n rows."""
    flat = x.flatten(1)
    return torch.arange(flat.shape[1], device=x.device).expand(len(x), -1)


def value_and_flips(energy: Callable[[Tensor], Tensor], x: Tensor, sites: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """E(x), (n,), and the changes E(x with x_s → -x_s) - E(x) of k flips of each state, (n, k); in nats, as functions of the weights.

    By the energy's own ``value_and_flips(x, sites)``, if it offers one; else by 1 + k evaluations of each example, which is what either
    way costs in units of the budget. For p ∝ exp(-E) the probability of x_s given all other coordinates is σ of the change.

    Args:
        energy: E, (n, *event) -> (n,).
        x: states (n, *event), every coordinate -1 or 1.
        sites: coordinates of the flattened event, (n, k) int64; None: all of them, in their order.
    """
    offered = getattr(energy, "value_and_flips", None)
    if offered is not None:
        value, changes = offered(x, sites)
        return value, changes
    sites = all_sites(x) if sites is None else sites
    states = torch.cat([x, flipped(x, sites).flatten(0, 1)])
    here, there = torch.cat([energy(part) for part in states.split(CHUNK)]).split([len(x), sites.numel()])
    return here, there.view(sites.shape) - here.unsqueeze(1)
