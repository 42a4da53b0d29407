"""Conditional noise contrastive estimation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ebmpipe.config import MethodConfig
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference
from ebmpipe.methods.neighbours import Scale, with_neighbours


def conditional_contrast(energy_data: Tensor, energy_noisy: Tensor) -> Tensor:
    """2 log(1 + exp(E(x) - E(x'))) for each example, shape (n,), in nats.

    How badly the energy tells an example x from x', noise about it of a law that is symmetric in the two, so that its density cancels, as
    do Z and any constant of E (Ceylan & Gutmann 2018, eq. 13). For x' = x + εz with ε → 0 it is 2 log 2 + (ε²/2)(½ ‖∇E‖² - ΔE).

    Args:
        energy_data: E(x), (n,).
        energy_noisy: E(x'), (n,).
    """
    return 2 * functional.softplus(energy_data - energy_noisy)


class ConditionalNCEConfig(MethodConfig):
    """Settings of `ConditionalNCE`."""

    scales: tuple[Scale, ...] = Field(
        (0.3, 1.0), min_length=1, description="standard deviations of the noise, in units of the data's; each example draws one of them"
    )


class ConditionalNCE(EnergyMethod):
    """Tells each example from itself with noise, by the energies of the two: no log Z, and no density of the noise.

    Consistent whatever the noise, in principle; little noise compares energies nearby alone, and makes it score matching, which is blind to
    the weights of modes further apart than it reaches (Ceylan & Gutmann 2018; Song & Kingma 2021, §5).
    """

    name = "conditional_nce"
    revision = 1
    title = "Conditional NCE"
    references = (
        Reference("C. Ceylan, M. U. Gutmann", "Conditional noise-contrastive estimation of unnormalised models", 2018, "1806.03664"),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = ConditionalNCEConfig
    config: ConditionalNCEConfig
    supports = frozenset({"space"})  # noise that leaves the box would be told from data by that alone
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"data_noise": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and its noisy copy once."""
        return 2 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        x = with_neighbours(batch, self.config.scales, self.spec.std, generator)
        energies = self.live(x)
        on_data, on_noisy = energies.split(len(batch))
        report = self.update(conditional_contrast(on_data, on_noisy).mean(), energies, x)
        return report | {"accuracy": (on_data < on_noisy).double().mean()}
