"""Convergent learning."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ebmpipe.config import KernelConfig, OptimiserConfig
from ebmpipe.methods.base import ByKind, Reference
from ebmpipe.methods.contrastive import ON_IMAGES, Persistent, PersistentConfig


class ConvergentConfig(PersistentConfig):
    """Settings of `Convergent`."""

    kernel: KernelConfig = Field(KernelConfig(name="ula", settings={"step_size": 0.1}), description="the kernel that moves the chains")
    optimiser: OptimiserConfig = Field(OptimiserConfig(sgd_after=0.7), description="the updates: Adam first, then SGD")


class Convergent(Persistent):
    """Persistent Langevin chains at temperature 1, with the precautions under which long chains keep the law of the data.

    Noise and drift of the sampler agree, the data carry noise of the sampler's own scale, nothing is clipped or penalised, and plain
    gradient descent ends what Adam began, because Adam's normalised steps do not let the energy come to rest (Nijkamp et al. 2020).
    """

    name = "convergent"
    revision = 1
    title = "Convergent"
    references = (
        Reference(
            "E. Nijkamp, M. Hill, T. Han, S.-C. Zhu, Y. N. Wu",
            "On the anatomy of MCMC-based maximum likelihood learning of energy-based models",
            2020,
            "1903.12370",
        ),
    )
    Config = ConvergentConfig
    config: ConvergentConfig
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"data_noise": 0.05},
        "images": {**ON_IMAGES, "chains": 400, "steps": 20},
    }
