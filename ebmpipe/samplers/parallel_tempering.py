"""Parallel tempering."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.samplers.base import Info, Kernel, State, StepSize, evaluated
from ebmpipe.samplers.mala import adjusted_langevin

Temperatures = Annotated[int, Field(ge=2, description="number of temperatures, R; a step costs as many gradients")]
Hottest = Annotated[float, Field(gt=1, description="largest temperature; the others fall from it geometrically to 1")]


class Replicas(NamedTuple):
    """All replicas of n chains, temperature by temperature: row r n + i is chain i at the r-th temperature.

    Attributes:
        x: positions, (R n, *event).
        energy: E there, (R n,).
        gradient: ∇E there, (R n, *event).
        clock: steps taken; odd and even ones swap different pairs.
    """

    x: Tensor
    energy: Tensor
    gradient: Tensor
    clock: int


class ParallelTempering(Kernel):
    """Replicas of each chain at temperatures T_r = hottest^(r/(R - 1)), moved by MALA, neighbours swapped (Geyer 1991).

    Their joint law ∏ exp(-E(x_r)/T_r) is exactly stationary, and the positions reported are those at T = 1: the law is p, and its modes
    get their weights by way of the hot replicas, which cross between them. The replica at T moves with step size ε √T. Each step then
    swaps pairs of neighbours, those that begin at even r after even steps and at odd r after odd ones (Okabe et al. 2001), which sends
    replicas through the temperatures faster than random pairs do (Syed et al. 2022). A swap of r and r + 1 is accepted with probability
    min(1, exp((1/T_r - 1/T_(r+1)) (E(x_r) - E(x_(r+1))))).

    All replicas move in one call of the energy. Energies and gradients are cached and travel with the replicas: a step costs R gradients
    per chain, the start 1, because there all replicas are where the chain is. E/T must have a finite integral up to the hottest T;
    an energy with a Gaussian base or a box has.

    Reported acceptance is that of the moves at T = 1; `Info.swap_prob` and `Summary.swaps` are that of the swaps. About a half is
    efficient (Syed et al. 2022); far less asks for more temperatures, far more for fewer.

    Args:
        step_size: ε > 0 of the coldest replica, in data units.
        temperatures: R ≥ 2.
        hottest: T_(R-1) > 1, at which chains should cross between modes easily.
    """

    name = "parallel_tempering"
    revision = 1
    gradients_at_init = 1
    one_point_per_chain = False  # one of every replica
    adjusted = True
    target_acceptance = 0.574  # MALA's

    def __init__(self, step_size: StepSize, temperatures: Temperatures = 6, hottest: Hottest = 20.0) -> None:
        if not step_size > 0 or temperatures < 2 or not hottest > 1:
            raise ValueError(
                f"ParallelTempering needs step_size > 0, temperatures >= 2 and hottest > 1, got {step_size}, {temperatures} and {hottest}"
            )
        self.step_size, self.hottest = step_size, hottest
        self.gradients_per_step = self.replicas = temperatures

    def ladder(self, like: Tensor) -> Tensor:
        """The temperatures from 1 to the hottest, (R,), of the type and device of ``like``."""
        exponents = torch.arange(self.replicas, device=like.device, dtype=like.dtype) / (self.replicas - 1)
        return self.hottest**exponents

    def init(self, energy: Energy, x: Tensor) -> State:
        """All replicas of a chain start where it is: one gradient per chain serves them all."""
        value, slope = evaluated(energy, x)
        wide = [1] * (x.dim() - 1)
        return self._state(
            Replicas(x.repeat(self.replicas, *wide), value.repeat(self.replicas), slope.repeat(self.replicas, *wide), 0), len(x)
        )

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One MALA step of every replica, then swaps; one gradient for each replica."""
        n, replicas = len(state.x), state.memory
        assert isinstance(replicas, Replicas)
        ladder = self.ladder(state.x)
        before = State(replicas.x, replicas.energy, replicas.gradient)
        moved, info = adjusted_langevin(energy, before, self.step_size, ladder.repeat_interleave(n), generator)
        assert moved.energy is not None and moved.gradient is not None and info.gradient is not None
        order, swap_prob = self._swaps(moved.energy.view(self.replicas, n), ladder, replicas.clock, generator)
        swapped = Replicas(moved.x[order], moved.energy[order], moved.gradient[order], replicas.clock + 1)
        return self._state(swapped, n), Info(info.accept_prob[:n], info.gradient[:n], swap_prob=swap_prob)

    def _state(self, replicas: Replicas, n: int) -> State:
        return State(replicas.x[:n], replicas.energy[:n], replicas.gradient[:n], replicas)

    def _swaps(self, energy: Tensor, ladder: Tensor, clock: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which of the R n replicas each row takes, (R n,), and the mean probability of the swaps; ``energy`` is (R, n)."""
        parity = clock % 2 if self.replicas > 2 else 0  # of two replicas there is one pair, which no step should leave out
        cold = torch.arange(parity, self.replicas - 1, 2, device=energy.device)
        coldness = 1 / ladder
        log_ratio = (coldness[cold] - coldness[cold + 1])[:, None] * (energy[cold] - energy[cold + 1])
        # Two replicas of infinite energy, where a run may start, have no ratio: they stay.
        swap_prob = log_ratio.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).clamp(max=0).exp()
        u = torch.rand(swap_prob.shape, generator=generator, device=energy.device, dtype=energy.dtype)
        rows = torch.arange(self.replicas, device=energy.device)[:, None].repeat(1, energy.shape[1])
        shift = (u < swap_prob).to(rows.dtype)
        rows[cold] += shift
        rows[cold + 1] -= shift
        chains = torch.arange(energy.shape[1], device=energy.device)
        return (rows * energy.shape[1] + chains).flatten(), swap_prob.mean()
