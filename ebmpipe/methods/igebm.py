"""Implicit generation with a replay buffer."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ebmpipe.config import KernelConfig, OptimiserConfig
from ebmpipe.methods.base import ByKind, Reference
from ebmpipe.methods.contrastive import Persistent, PersistentConfig

#: The source's, x - 10 ∇E + 0.005 z with every coordinate of ∇E clipped to 0.01 on images in [0, 1], as it is on [-1, 1].
KERNEL = KernelConfig(name="ula", settings={"step_size": 80**0.5, "noise_scale": 0.01, "clip": 0.005})


class IGEBMConfig(PersistentConfig):
    """Settings of `IGEBM`; defaults from the source, which are laid over by those of each kind of data."""

    chains: int = Field(10_000, ge=1, description="chains in the replay buffer")
    restart: float = Field(0.05, ge=0, le=1, description="probability that a drawn chain starts anew from the base")
    steps: int = Field(60, ge=1, description="steps of the kernel per update")
    kernel: KernelConfig = Field(KERNEL, description="the kernel that moves the chains")
    # The source adds up the mean squares of data and of negatives; here it is one mean over both.
    energy_penalty: float = Field(2.0, ge=0, description="factor on the mean square of the energies less the base's")
    spectral_norm: float | None = Field(1.0, gt=0, description="spectral norm of each weight matrix of the network; null: free weights")
    optimiser: OptimiserConfig = Field(OptimiserConfig(learning_rate=1e-4, betas=(0.0, 0.999)), description="how the network is updated")


class IGEBM(Persistent):
    """Chains from a replay buffer, one in twenty begun anew, moved by Langevin steps whose noise is far smaller than their drift asks for.

    The law that such chains follow is exp(-E/T) with T = (noise / step size)² < 1: that is the model which is evaluated here.
    Where gradients are clipped even T is nominal. Energies are penalised and weights normalised to keep their scale (Du & Mordatch 2019).
    """

    name = "igebm"
    revision = 1
    title = "IGEBM"
    references = (Reference("Y. Du, I. Mordatch", "Implicit generation and modeling with energy-based models", 2019, "1903.08689"),)
    Config = IGEBMConfig
    config: IGEBMConfig
    settings_by_kind: ClassVar[ByKind] = {
        # Warmer than the source's chains, with steeper networks: there are tens of times fewer updates here for the energy to grow.
        "density": {
            "batch_size": 64,
            "steps": 20,
            "kernel": {"settings": {"step_size": 0.5, "noise_scale": 0.15, "clip": 1.0}},
            "energy_penalty": 0.01,
            "spectral_norm": 3.0,
            "optimiser": {"learning_rate": 1e-3},
        },
        "images": {
            "batch_size": 100,
            "steps": 20,
            "data_noise": 0.3,
            "kernel": {"settings": {"step_size": 0.3, "noise_scale": 0.1, "clip": 1.0}},
            "energy_penalty": 0.01,
            "spectral_norm": 2.0,
            "optimiser": {"learning_rate": 1e-3},
        },
    }
