"""Persistent contrastive divergence."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.methods.base import ByKind, Reference
from ebmpipe.methods.contrastive import ON_IMAGES, Persistent, PersistentConfig


class PCDConfig(PersistentConfig):
    """Settings of `PCD`."""

    restart_from: Literal["base", "data"] = Field("base", description="where chains start anew: the broad base, or the batch's examples")


class PCD(Persistent):
    """Maximum likelihood with negative samples from chains that persist between updates.

    Each update moves the chains it draws a few steps under the energy as it then is: they follow the model as long as it changes
    more slowly than they mix (Younes 1999; Tieleman 2008; Song & Kingma 2021, §3).
    """

    name = "pcd"
    revision = 2
    title = "PCD"
    references = (
        Reference("L. Younes", "On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity rates", 1999),
        Reference("T. Tieleman", "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = PCDConfig
    config: PCDConfig
    settings_by_kind: ClassVar[ByKind] = {"images": {**ON_IMAGES, "chains": 400, "steps": 20}}

    def beginnings(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return batch if self.config.restart_from == "data" else super().beginnings(batch, generator)
