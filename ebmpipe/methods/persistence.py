"""Chains that outlive an update: a replay buffer whose every slot keeps its own chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Drawn:
    """Chains taken from a `Persistence` for one update.

    Attributes:
        slots: where they came from, (n,), all different.
        x: positions (n, *event).
        ages: steps that each has taken since it last began, (n,).
        lineages: which beginning each descends from, (n,).
    """

    slots: Tensor
    x: Tensor
    ages: Tensor
    lineages: Tensor


class Persistence(nn.Module):
    """Chains drawn without replacement and written back to the slots they came from, so that none is ever lost or doubled.

    Buffers that write elsewhere than they read lose chains: with 8192 chains in batches of 256, a first-in-first-out list keeps
    77 lineages after 2000 updates; this keeps all.

    Args:
        x: where the chains start, (chains, *event).
    """

    positions: Tensor
    ages: Tensor
    lineages: Tensor
    begun: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        chains = len(x)
        self.register_buffer("positions", x)
        self.register_buffer("ages", torch.zeros(chains, dtype=torch.int64))
        self.register_buffer("lineages", torch.arange(chains))
        self.register_buffer("begun", torch.tensor(chains))

    def __len__(self) -> int:
        return len(self.positions)

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        """``count`` chains of different slots; the buffer does not change."""
        slots = torch.randperm(len(self), generator=generator, device=self.positions.device)[:count]
        return Drawn(slots, self.positions[slots], self.ages[slots], self.lineages[slots])

    def begun_anew(self, drawn: Drawn, which: Tensor, x: Tensor) -> Drawn:
        """``drawn`` with the chains of ``which`` (n,) bool replaced by new ones at ``x`` (n, *event), each a lineage of its own."""
        wide = which.view(-1, *[1] * (x.dim() - 1))
        lineages = torch.where(which, self.begun + which.cumsum(0) - 1, drawn.lineages)
        return Drawn(drawn.slots, torch.where(wide, x, drawn.x), drawn.ages.masked_fill(which, 0), lineages)

    def put_back(self, drawn: Drawn, x: Tensor, steps: int) -> None:
        """Write chains, now at ``x`` after ``steps`` more steps, back to their own slots."""
        self.positions[drawn.slots], self.ages[drawn.slots], self.lineages[drawn.slots] = x, drawn.ages + steps, drawn.lineages
        self.begun.copy_(torch.maximum(self.begun, drawn.lineages.max() + 1))

    def diagnostics(self) -> dict[str, Callable[[], Tensor | int]]:
        """Mean and largest age in steps, and of how many beginnings chains are left, as functions: dear, and seldom asked for."""
        return {
            "age": lambda: self.ages.double().mean(),
            "age_max": lambda: self.ages.max(),
            "lineages": lambda: self.lineages.unique().numel(),
        }
