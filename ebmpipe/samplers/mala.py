"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmpipe.energies import Energy, value_and_gradient
from ebmpipe.samplers.base import Info, Kernel, State, StepSize, chosen, evaluated


class MALA(Kernel):
    """A Langevin proposal, accepted so that p is exactly stationary (Roberts & Tweedie 1996).

    Energy and gradient of the current position are cached: one gradient per step, and one at the start.

    Args:
        step_size: ε > 0 of the proposal x - (ε²/2) ∇E(x) + ε z, in data units.
    """

    name = "mala"
    revision = 1
    gradients_at_init = 1
    adjusted = True
    target_acceptance = 0.574  # optimal in many dimensions: Roberts & Rosenthal 1998

    def __init__(self, step_size: StepSize) -> None:
        if not step_size > 0:
            raise ValueError(f"MALA needs step_size > 0, got {step_size}")
        self.step_size = step_size

    def init(self, energy: Energy, x: Tensor) -> State:
        """Caches E and its gradient at ``x``."""
        return State(x.clone(), *evaluated(energy, x))

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One proposal per chain; one gradient. A proposal of non-finite energy is rejected."""
        return adjusted_langevin(energy, state, self.step_size, 1.0, generator)


def adjusted_langevin(
    energy: Energy, state: State, step_size: float, temperature: float | Tensor, generator: torch.Generator
) -> tuple[State, Info]:
    """One MALA step of every chain for p^(1/T), with the proposal x - (ε²/2) ∇E(x) + ε √T z, which is that of step size ε √T for E/T.

    Args:
        energy: E, (n, *event) -> (n,).
        state: positions with E and ∇E there, at temperature 1 whatever T is.
        step_size: ε.
        temperature: T, or one of each chain, (n,).
        generator: the source of all randomness.
    """
    x, value, slope, _ = state
    assert value is not None and slope is not None
    half = step_size**2 / 2
    noise: float | Tensor = step_size * temperature**0.5
    if isinstance(noise, Tensor):
        noise = noise.view(-1, *[1] * (x.dim() - 1))
    z = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    u = torch.rand(x.shape[0], generator=generator, device=x.device, dtype=x.dtype)
    proposal = x - half * slope + noise * z
    value_new, slope_new = value_and_gradient(energy, proposal)
    # log q(x | x') - log q(x' | x): the forward noise is z, the backward noise follows from the new gradient.
    backward = (x - proposal + half * slope_new) / noise
    log_ratio = (value - value_new) / temperature + (z.flatten(1).square().sum(1) - backward.flatten(1).square().sum(1)) / 2
    # Neither +inf nor -inf nor a broken gradient may be entered: no step would lead out again.
    finite = value_new.isfinite() & slope_new.flatten(1).isfinite().all(1)
    accept_prob = torch.where(finite, log_ratio.clamp(max=0).exp(), 0.0)
    return chosen(u < accept_prob, State(proposal, value_new, slope_new), state), Info(accept_prob, slope)
