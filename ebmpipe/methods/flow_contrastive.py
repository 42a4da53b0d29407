"""Flow contrastive estimation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import MethodConfig
from ebmpipe.energies import frozen, value_and_gradient
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Samples, Setup
from ebmpipe.methods.noise_contrast import NormalisedEnergy, accuracy, contrast
from ebmpipe.methods.noise_flow import FlowConfig, NoiseFlow
from ebmpipe.optimisation import Update, apply_all


def seen_by_flow(values: Tensor, slopes: Tensor, x: Tensor) -> Tensor:
    """Energies of samples as functions of where they are, to first order: E + ∇E·(x - x₀) with x₀ the value of x, shape (n,).

    Its value and its gradient through ``x`` are those of E, whose weights stay out of it.

    Args:
        values: E at the samples, (n,), a constant.
        slopes: ∇E there, shape of ``x``, a constant.
        x: the samples (n, *event), functions of the weights that made them.
    """
    return values + (slopes * (x - x.detach())).flatten(1).sum(1)


class FlowContrastiveConfig(MethodConfig):
    """Settings of `FlowContrastive`."""

    flow: FlowConfig = Field(FlowConfig(), description="the flow that noise comes from")


class FlowContrastive(EnergyMethod):
    """Tells data from the samples of a flow, which learns at the same time to be taken for data.

    With ℓ = -E - c - log q it is min over q, max over E and c of V = E_data log σ(ℓ) + E_q log σ(-ℓ). At the best energy V is
    2 JS(data, q) - 2 log 2, so that the flow minimises the Jensen-Shannon divergence, both through its samples and through its density
    (Gao et al. 2020). Noise becomes as hard to tell from data as the flow can make it, which is what contrastive estimation lives on. For a
    first share of the updates the flow is fitted by maximum likelihood, which gives it all of the data's modes. It is the own sampler.
    """

    name = "flow_contrastive"
    revision = 1
    title = "Flow contrastive estimation"
    references = (
        Reference(
            "R. Gao, E. Nijkamp, D. P. Kingma, Z. Xu, A. M. Dai, Y. N. Wu",
            "Flow contrastive estimation of energy-based models",
            2020,
            "1912.00589",
        ),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = FlowContrastiveConfig
    config: FlowContrastiveConfig
    supports = frozenset({"space"})  # the flow reaches beyond every box
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.flow = NoiseFlow(setup.spec, self.config.flow, self.config.optimiser.schedule, setup.iterations)

    def made(self, setup: Setup) -> nn.Module:
        return NormalisedEnergy(super().made(setup))

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and every noise sample once, in the weights; and ∇ₓE at the samples from which the flow learns."""
        return 3 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        flow, n = self.flow, len(batch)
        noise = flow.law.reparametrised(n, generator)
        x = torch.cat([batch, noise])
        minus_log_noise = flow.law(x)
        energies = self.live(x.detach())
        on_data, on_noise = (minus_log_noise.detach() - energies).split(n)
        data_loss, noise_loss = contrast(on_data, on_noise, 1.0)
        updates = [self.as_update(data_loss.mean() + noise_loss.mean(), energies, x)]
        with frozen(self.live):
            values, slopes = value_and_gradient(self.live, noise.detach())
        if flow.fits:
            updates.append(flow.fitting(batch))
        else:
            at = torch.cat([energies[:n].detach(), seen_by_flow(values, slopes, noise)])
            taken_data, taken_noise = (minus_log_noise - at).split(n)
            data_taken, noise_taken = contrast(taken_data, taken_noise, 1.0)
            updates.append(Update(-data_taken.mean() - noise_taken.mean(), flow.learner))
        report, of_flow = apply_all(*updates)
        flow.counted()
        return {
            **report,
            "accuracy": accuracy(on_data, on_noise),
            "log_partition": self.live.get_parameter("log_partition"),
            "flow_loss": of_flow["loss"],
        }

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples of the flow."""
        x = self.flow.average.sample(n, generator)
        return Samples(self.denoised(x), "flow", before=x if self.denoises else None, gradient_evaluations=n * int(self.denoises))
