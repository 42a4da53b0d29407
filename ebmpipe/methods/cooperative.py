"""Cooperative learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ebmpipe.methods.base import Reference
from ebmpipe.methods.generator_family import Revising, RevisingConfig
from ebmpipe.optimisation import Update, apply_all


class CooperativeConfig(RevisingConfig):
    """Settings of `Cooperative`."""


class Cooperative(Revising):
    """The generator begins chains that the energy ends, and learns to begin where they end; it never sees the data (Xie et al. 2018).

    x₀ = g(z) + σε becomes x̃ by ``steps`` steps under the energy, which minimises E(x) - E(x̃) while the generator minimises
    -log p(x̃ | z). There is no inference model: latent vectors of examples are found by chains from noise.
    """

    name = "cooperative"
    revision = 1
    title = "Cooperative learning"
    references = (
        Reference(
            "J. Xie, Y. Lu, R. Gao, S.-C. Zhu, Y. N. Wu", "Cooperative training of descriptor and generator networks", 2018, "1609.09408"
        ),
    )
    Config = CooperativeConfig
    config: CooperativeConfig

    @property
    def infers(self) -> bool:
        return False

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        law = self.models(False)
        u = self.drawn(law, len(batch), generator)
        start = self.started(law, u)
        revised, summary = self.revised(start, generator)
        followed = law.misfit(revised, u[:, : law.latent]).mean()
        of_energy, told = self.contrast(batch, revised, summary)
        report, _ = apply_all(of_energy, Update(followed, self.generator))
        moved = torch.linalg.vector_norm((revised - start).flatten(1), dim=1).mean()
        return report | told | {"followed": followed.detach(), "moved": moved}
