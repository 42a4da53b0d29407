"""Short-run MCMC."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import KernelConfig
from ebmpipe.methods.base import ByKind, Reference, Samples
from ebmpipe.methods.contrastive import ON_IMAGES, Contrastive, ContrastiveConfig, Negatives


class ShortRunConfig(ContrastiveConfig):
    """Settings of `ShortRun`."""

    steps: int = Field(60, ge=1, description="steps of the kernel per update, and of the sampler that training yields")
    kernel: KernelConfig = Field(KernelConfig(name="ula", settings={"step_size": 0.15}), description="the kernel that moves the chains")


class ShortRun(Contrastive):
    """Every update's chains begin in noise and run the same small number of steps, whether they have converged by then or not.

    What is learned is a sampler, the short run itself, and an energy whose own law is another: long chains drift off. Samples of
    the short run are the run's own and stand beside those of long chains, by which all methods are compared (Nijkamp et al. 2019).
    """

    name = "short_run"
    revision = 1
    title = "Short-run"
    references = (
        Reference(
            "E. Nijkamp, M. Hill, S.-C. Zhu, Y. N. Wu",
            "Learning non-convergent non-persistent short-run MCMC toward energy-based model",
            2019,
            "1904.09770",
        ),
    )
    Config = ShortRunConfig
    config: ShortRunConfig
    settings_by_kind: ClassVar[ByKind] = {"images": ON_IMAGES}

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        return Negatives(*self.moved(self.base.sample(len(batch), generator), generator))

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples of the short run, from noise."""
        return self.short_chains(self.base.sample(n, generator), generator)
