"""Hamiltonian Monte Carlo."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.samplers.base import Info, Kernel, State, chosen, evaluated
from ebmpipe.samplers.leapfrog import kinetic, leapfrog

LeapfrogStep = Annotated[float, Field(gt=0, description="ε of a leapfrog step, in data units")]
LeapfrogSteps = Annotated[int, Field(ge=1, description="leapfrog steps of a proposal")]
Jitter = Annotated[float, Field(ge=0, lt=1, description="ε of each proposal is drawn evenly from within this share of it, for all chains")]


class HMC(Kernel):
    """A trajectory of Hamiltonian dynamics from a fresh momentum, its end accepted so that p is exactly stationary (Duane et al. 1987).

    The mass is one. Energy and gradient of the current position are cached: L gradients per proposal, and one at the start. With L = 1
    this is `MALA` of the same ε. Where all of E has one period of oscillation, as a Gaussian has, a trajectory of half a period or a
    whole one leads nowhere new: choose ε L away from those, or let it vary by ``jitter`` (Neal 2011, §5.4.2.2). That leaves p stationary,
    as ε depends on nothing.

    Args:
        step_size: ε > 0 of a leapfrog step, in data units.
        leapfrog_steps: L ≥ 1, steps of a proposal.
        jitter: j in [0, 1): every proposal has its own ε, uniform in (1 ± j) ``step_size`` and the same for all chains.
    """

    name = "hmc"
    revision = 1
    gradients_at_init = 1
    adjusted = True
    target_acceptance = 0.651  # optimal in many dimensions: Beskos et al. 2013

    def __init__(self, step_size: LeapfrogStep, leapfrog_steps: LeapfrogSteps = 10, jitter: Jitter = 0.0) -> None:
        if not step_size > 0 or not leapfrog_steps >= 1:
            raise ValueError(f"HMC needs step_size > 0 and leapfrog_steps >= 1, got {step_size} and {leapfrog_steps}")
        if not 0 <= jitter < 1:
            raise ValueError(f"HMC needs a jitter in [0, 1), got {jitter}")
        self.step_size, self.leapfrog_steps, self.jitter = step_size, leapfrog_steps, jitter
        self.gradients_per_step = leapfrog_steps

    def init(self, energy: Energy, x: Tensor) -> State:
        """Caches E and its gradient at ``x``."""
        return State(x.clone(), *evaluated(energy, x))

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One proposal per chain; L gradients. A proposal of non-finite energy is rejected."""
        x, value, slope, _ = state
        assert value is not None and slope is not None
        momentum = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        u = torch.rand(x.shape[0], generator=generator, device=x.device, dtype=x.dtype)
        step = self.step_size
        if self.jitter:
            step *= 1 + self.jitter * (2 * float(torch.rand((), generator=generator, device=x.device)) - 1)
        proposal, end, value_new, slope_new = leapfrog(energy, x, momentum, slope, step, self.leapfrog_steps)
        kinetic_new = kinetic(end)
        log_ratio = value - value_new + (kinetic(momentum) - kinetic_new)
        # Neither +inf nor -inf nor a broken gradient, which would have broken the momentum, may be entered: no step would lead out.
        finite = value_new.isfinite() & kinetic_new.isfinite()
        accept_prob = torch.where(finite, log_ratio.clamp(max=0).exp(), 0.0)
        return chosen(u < accept_prob, State(proposal, value_new, slope_new), state), Info(accept_prob, slope)
