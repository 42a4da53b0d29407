"""The unadjusted Langevin algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmpipe.energies import Energy, gradient
from ebmpipe.samplers.base import Clip, Info, Kernel, NoiseScale, State, StepSize


class ULA(Kernel):
    """x ← x - (ε²/2) ∇E(x) + η z, z ~ N(0, I) (Parisi 1981; Grenander & Miller 1994).

    Without rejection its law is biased: a Gaussian of variance s² is sampled with variance s² / (1 - ε²/(4s²)) at η = ε.
    With η ≠ ε the temperature is (η/ε)². Where gradients are clipped (Du & Mordatch 2019), that is no longer so.

    Args:
        step_size: ε > 0, in data units.
        noise_scale: η ≥ 0, in data units; ε if None.
        clip: largest absolute value of a coordinate of ∇E; None for none.
    """

    name = "ula"
    revision = 1

    def __init__(self, step_size: StepSize, noise_scale: NoiseScale = None, clip: Clip = None) -> None:
        if not step_size > 0 or (noise_scale is not None and not noise_scale >= 0) or (clip is not None and not clip > 0):
            raise ValueError(f"ULA needs step_size > 0, noise_scale >= 0 and clip > 0, got {step_size}, {noise_scale} and {clip}")
        self.step_size, self.clip = step_size, clip
        self.noise_scale = step_size if noise_scale is None else noise_scale
        self.temperature = (self.noise_scale / self.step_size) ** 2

    def init(self, energy: Energy, x: Tensor) -> State:
        """Nothing to cache: every step takes one gradient at a point not seen before."""
        return State(x.clone())

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One step; one gradient."""
        x = torch.randn(state.x.shape, generator=generator, device=state.x.device, dtype=state.x.dtype).mul_(self.noise_scale)
        slope, clipped = gradient(energy, state.x), None
        if self.clip is not None:
            clipped = (slope.abs() > self.clip).to(slope.dtype).mean()
            slope = slope.clamp(-self.clip, self.clip)
        x.add_(slope, alpha=-(self.step_size**2) / 2).add_(state.x)
        return State(x), Info(x.new_ones(x.shape[0]), slope, clipped=clipped)
