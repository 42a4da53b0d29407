"""Annealed Langevin dynamics."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energies import Energy, tempered
from ebmpipe.samplers.base import Info, Kernel, State, StepSize
from ebmpipe.samplers.ula import ULA

Width = Annotated[float, Field(ge=1, description="relative width w of the first level; its temperature is w²")]
Levels = Annotated[int, Field(ge=1, description="number of levels, of widths that fall geometrically to 1")]
StepsPerLevel = Annotated[int, Field(ge=1, description="steps at each level; the last, of width 1, goes on for as long as the run")]


def widened(energy: Energy, width: float) -> Energy:
    """``energy`` made ``width`` times as wide: its own ``at_width(width)`` if it offers one, else E / width². At width 1, ``energy``."""
    if width == 1:
        return energy
    offered: Any = getattr(energy, "at_width", None)
    result: Energy = tempered(energy, width**2) if offered is None else offered(width)
    return result


class AnnealedLangevin(Kernel):
    """ULA through a sequence of ever narrower laws (Song & Ermon 2019, algorithm 1), so that chains cross between modes while they can.

    Level i = 0, …, L - 1 has the relative width w_i = width^(1 - i/(L - 1)). There, ULA with step size ε w_i samples

    - E(x, w_i σ) if the energy offers ``at_width``, a method that makes the energy of data smoothed by noise of w times its own level σ:
      steps ∝ σ_i, that is α_i ∝ σ_i², are those of Song & Ermon;
    - E / w_i² otherwise, at temperature w_i²: the drift is that of width 1, with noise w_i times as large (simulated annealing).

    After the last level's ``steps_per_level`` the chains stay at width 1. The clock starts anew with every `init`, that is with every run
    from positions, and is carried in the state. A run that ends before the last level reports that level's temperature, w²: nominal
    where the level is another energy, which is no power of p.

    Exact is only the target of the levels, not what is reached: each has ULA's bias (at width 1 that of ``ULA(step_size)``, to which the
    chains' law tends if they stay). How much mass each mode gets is settled at the level where chains cease to cross. Where noise smooths
    the data, weights are the same at every level, so they come out right if the levels above mixed. A temperature changes them: modes of
    equal shape have weights ∝ weight^(1/T) at temperature T, so unequal modes come out more equal than they are.

    Args:
        step_size: ε > 0 at width 1, in data units.
        width: w_0 ≥ 1, relative to the energy's own; 1 gives ULA.
        levels: L ≥ 1; a single one has width 1.
        steps_per_level: steps at each level.
    """

    name = "annealed_langevin"
    revision = 1

    def __init__(self, step_size: StepSize, width: Width = 10.0, levels: Levels = 10, steps_per_level: StepsPerLevel = 10) -> None:
        if not step_size > 0 or not width >= 1 or levels < 1 or steps_per_level < 1:
            raise ValueError(
                "AnnealedLangevin needs step_size > 0, width >= 1, levels >= 1 and steps_per_level >= 1, "
                f"got {step_size}, {width}, {levels} and {steps_per_level}"
            )
        self.step_size, self.steps_per_level = step_size, steps_per_level
        self.steps_to_target = (levels - 1) * steps_per_level if width > 1 else 0
        self.widths = [width ** (1 - level / (levels - 1)) for level in range(levels - 1)] + [1.0]
        self.moves = [ULA(step_size * width) for width in self.widths]

    def init(self, energy: Energy, x: Tensor) -> State:
        """Sets the clock to 0, the first level."""
        return State(x.clone(), memory=0)

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One step of ULA at the level that the clock tells; one gradient, which is that of the widened energy."""
        clock: int = state.memory
        level = self._level(clock)
        moved, info = self.moves[level].step(widened(energy, self.widths[level]), state, generator)
        return moved._replace(memory=clock + 1), info

    def temperature_at(self, state: State) -> float:
        """w² of the level that the last step was made at."""
        last: int = max(state.memory - 1, 0)
        width: float = self.widths[self._level(last)]
        return width * width

    def _level(self, clock: int) -> int:
        return min(clock // self.steps_per_level, len(self.widths) - 1)
