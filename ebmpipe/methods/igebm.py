"""Implicit generation with a replay buffer."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ebmpipe.config import KernelConfig, OptimiserConfig
from ebmpipe.methods.base import ByKind, Reference
from ebmpipe.methods.contrastive import Persistent, PersistentConfig


class IGEBMConfig(PersistentConfig):
    """Settings of `IGEBM`."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    chains: int = Field(10_000, ge=1, description="chains in the replay buffer")
    restart: float = Field(0.05, ge=0, le=1, description="probability that a drawn chain starts anew from noise")
    steps: int = Field(60, ge=1, description="steps of the kernel per update")
    kernel: KernelConfig = Field(
        KernelConfig(name="ula", settings={"step_size": 0.3, "noise_scale": 0.03, "clip": 20.0}),
        description="the kernel that moves the chains",
    )
    energy_penalty: float = Field(1.0, ge=0, description="factor on the mean square of the energies less the base's")
    spectral_norm: float | None = Field(1.0, gt=0, description="spectral norm of each weight matrix of the network; null: free weights")
    optimiser: OptimiserConfig = Field(OptimiserConfig(betas=(0.0, 0.999)), description="how the energy network is updated")


class IGEBM(Persistent):
    """Chains from a replay buffer, one in twenty begun anew, moved by Langevin steps whose noise is far smaller than their drift asks for.

    The law that such chains follow is exp(-E/T) with T = (noise / step size)², far below 1: that is the model which is evaluated here.
    Gradients are clipped, so that even T is nominal; energies are penalised and weights normalised to keep their scale (Du & Mordatch
    2019).
    """

    name = "igebm"
    revision = 1
    title = "IGEBM"
    references = (Reference("Y. Du, I. Mordatch", "Implicit generation and modeling with energy-based models", 2019, "1903.08689"),)
    Config = IGEBMConfig
    config: IGEBMConfig
    settings_by_kind: ClassVar[ByKind] = {"images": {"batch_size": 100}}
