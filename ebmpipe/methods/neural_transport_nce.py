"""NT-EBM by noise contrastive estimation: an energy that tilts a flow, and tells data from the flow's own samples."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.methods.base import ByKind, Setup
from ebmpipe.methods.noise_contrast import FLOW_CONTRASTIVE, NormalisedEnergy, accuracy, contrast
from ebmpipe.methods.tilting import NT_EBM, Tilting, TiltingConfig


class NeuralTransportNCEConfig(TiltingConfig):
    """Settings of `NeuralTransportNCE`."""

    ratio: int = Field(1, ge=1, description="ν, samples of the flow per example")
    counts_as: int = Field(
        1, ge=1, description="gradient evaluations that a sample counts as in the budget: its pass through the flow, and its gradient of f"
    )


class NeuralTransportNCE(Tilting):
    """Logistic regression of data against the flow's samples, whose log-odds log p - log q are -f - log Z: the flow's density cancels.

    Both f and log Z are learned, and no chain is run in training (Nijkamp et al. 2022; Gao et al. 2020 teach the flow as well, and have a
    whole energy in place of a tilt). What hardly differs from the flow is quickly told, what it never samples is never seen.
    """

    name = "neural_transport_nce"
    revision = 3
    title = "NT-EBM by NCE"
    references = (NT_EBM, FLOW_CONTRASTIVE)
    Config = NeuralTransportNCEConfig
    config: NeuralTransportNCEConfig
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 512},
        # Otherwise a thousand digits are learned by heart. On digits, of 1, 1.5, 2, 3 and none the best samples by the validation split.
        "images": {"counts_as": 4, "spectral_norm": 1.5},
    }

    def made(self, setup: Setup) -> nn.Module:
        return NormalisedEnergy(self.tilt(setup))

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example once, and every sample by what it counts as."""
        return self.config.batch_size * (1 + self.config.ratio * self.config.counts_as)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        ratio = self.config.ratio
        with torch.no_grad():
            samples = self.law.carried(self.fresh(len(batch) * ratio, generator))
        x = torch.cat([batch, samples])
        energies = self.live(x)
        on_data, on_samples = (-energies).split([len(batch), len(samples)])
        data_loss, samples_loss = contrast(on_data, on_samples, ratio)
        # A penalty is on f, of which log Z is no part.
        log_partition = self.live.get_parameter("log_partition")
        report = self.update(data_loss.mean() + ratio * samples_loss.mean(), energies - log_partition, x)
        return report | {"accuracy": accuracy(on_data, on_samples, ratio), "log_partition": log_partition.detach()}
