"""Gibbs sampling of states."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.flips import flipped
from ebmpipe.samplers.base import Info, Kernel, State
from ebmpipe.spec import Kind


class Gibbs(Kernel):
    """One coordinate of each chain, chosen at random, is drawn afresh from its law given all others (Geman & Geman 1984).

    It turns over with probability σ(E(x) - E(x^i)), so that p is exactly stationary and the chain reversible. That is one evaluation of E
    a step, and one at the start, since E is cached; a sweep of all D coordinates is D steps.
    """

    name = "gibbs"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"binary"})
    gradients_at_init = 1

    def __init__(self) -> None:
        """There is nothing to set."""

    def init(self, energy: Energy, x: Tensor) -> State:
        """Caches E at ``x``.

        Raises:
            ValueError: if a coordinate is neither -1 nor 1, or E has not one value for each example.
        """
        if not (x.abs() == 1).all():
            raise ValueError("gibbs moves on states, whose every coordinate is -1 or 1")
        value = energy(x)
        if value.shape != x.shape[:1]:
            raise ValueError(
                f"an energy must map (n, *event) to (n,), one number for each example; {tuple(x.shape)} it maps to {tuple(value.shape)}"
            )
        return State(x.clone(), value)

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One coordinate of every chain; one evaluation of E. A state of infinite energy is not entered."""
        x, here = state.x, state.energy
        assert here is not None
        sites = torch.randint(x[0].numel(), (len(x), 1), generator=generator, device=x.device)
        proposed = flipped(x, sites).squeeze(1)
        there = energy(proposed)
        turns = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype) < (here - there).sigmoid()
        ones = torch.ones(len(x), device=x.device, dtype=x.dtype)
        wide = turns.view(-1, *[1] * (x.dim() - 1))
        return State(torch.where(wide, proposed, x), torch.where(turns, there, here)), Info(ones)
