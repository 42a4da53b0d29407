"""Kinetic Langevin dynamics."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from ebmpipe.energies import Energy, gradient
from ebmpipe.samplers.base import Info, Kernel, State, StepSize

Friction = Annotated[float, Field(gt=0, description="rate at which momenta forget, per unit of time, which is a data unit at unit speed")]
Temperature = Annotated[float, Field(ge=0, description="T of the law p^(1/T) that is sampled")]


class UnderdampedLangevin(Kernel):
    """dx = v dt, dv = -∇E(x) dt - γ v dt + √(2γT) dW, by the splitting BAOAB (Leimkuhler & Matthews 2013) with unit mass.

    A step is half a kick by the gradient, half a drift, e^(-γε) v plus fresh noise, half a drift, half a kick. The last kick's gradient
    serves the next step's first: one gradient per step, and one at the start. The momenta v, drawn from N(0, T) at the first step, are
    carried from step to step; positions alone do not tell how a run goes on.

    Nothing is rejected, so the law is biased, but little: of a Gaussian of variance s² the positions have exactly the variance T s² at
    every stable step ε < 2s, and the momenta T (1 - ε²/(4s²)). In general averages over positions are wrong by O(ε²), and by O(ε⁴) as
    γ → ∞, where every step but the first is x ← x - (ε²/2) ∇E(x) + ε √T (z + z')/2 with z' the z of the next step: ULA, its noise averaged.

    Args:
        step_size: ε > 0, in data units: a chain at unit speed moves by it in a step, and as γ → ∞ it is ULA's.
        friction: γ > 0, per unit of time; the dynamics forget their direction in about 1/(γε) steps. About 1/s is best for a Gaussian
            of standard deviation s, infinity is allowed.
        temperature: T ≥ 0.
    """

    name = "underdamped_langevin"
    revision = 1
    gradients_at_init = 1

    def __init__(self, step_size: StepSize, friction: Friction = 1.0, temperature: Temperature = 1.0) -> None:
        if not step_size > 0 or not friction > 0 or not temperature >= 0:
            raise ValueError(
                f"UnderdampedLangevin needs step_size > 0, friction > 0 and temperature >= 0, got {step_size}, {friction} and {temperature}"
            )
        self.step_size, self.friction, self.temperature = step_size, friction, temperature

    def init(self, energy: Energy, x: torch.Tensor) -> State:
        """Caches the gradient at ``x``; the momenta are drawn by the first step, which has a generator."""
        return State(x.clone(), gradient=gradient(energy, x))

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One step; one gradient, where it ends."""
        x, _, slope, velocity = state
        assert slope is not None
        half = self.step_size / 2
        kept = math.exp(-self.friction * self.step_size)
        fresh = math.sqrt(-self.temperature * math.expm1(-2 * self.friction * self.step_size))
        if velocity is None:
            velocity = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype) * math.sqrt(self.temperature)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        before = velocity - half * slope
        after = noise.mul_(fresh).add_(before, alpha=kept)
        x = x + half * (before + after)
        slope_new = gradient(energy, x)
        return State(x, gradient=slope_new, memory=after - half * slope_new), Info(x.new_ones(x.shape[0]), slope)
