"""Flow contrastive estimation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import MethodConfig
from ebmpipe.derivatives import to_first_order
from ebmpipe.energies import GaussianLaw, frozen, value_and_gradient
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Samples, Setup
from ebmpipe.methods.noise_contrast import FLOW_CONTRASTIVE, NormalisedEnergy, accuracy, contrast
from ebmpipe.methods.noise_flow import NoiseFlow, NoiseFlowConfig
from ebmpipe.optimisation import Update, apply_all


class FlowContrastiveConfig(MethodConfig):
    """Settings of `FlowContrastive`."""

    flow: NoiseFlowConfig = Field(NoiseFlowConfig(), description="the flow that noise comes from")


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
        FLOW_CONTRASTIVE,
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = FlowContrastiveConfig
    config: FlowContrastiveConfig
    supports = frozenset({"space"})  # the flow reaches beyond every box
    # Noise that is hard to tell from data makes for gradients of little variance: small batches, and many updates, pay.
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 128},
        "images": {"data_noise": 0.3, "flow": {"transforms": 6, "width": 128, "fit": 0.3, "cover": 0.1}},
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        cover = GaussianLaw.of(setup.spec)
        self.flow = NoiseFlow(setup.spec, self.config.flow, cover, self.config.optimiser.schedule, setup.iterations)

    def made(self, setup: Setup) -> nn.Module:
        return NormalisedEnergy(super().made(setup))

    @property
    def gradient_evaluations_per_step(self) -> int:
        """The most: every example and every noise sample once, in the weights; and ∇ₓE at the samples from which the flow learns."""
        return 3 * self.config.batch_size

    @property
    def random_cost(self) -> bool:
        """An update that fits the flow takes no ∇ₓE."""
        return True

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        fits, n = self.flow.fits(self.learner.over), len(batch)
        noise = self.flow.drawn(n, self.learner.over, generator)
        minus_log_noise = self.flow.noise(self.learner.over)(torch.cat([batch, noise]))
        x = torch.cat([batch, noise.detach()])
        energies = self.live(x)
        on_data, on_noise = (minus_log_noise.detach() - energies).split(n)
        data_loss, noise_loss = contrast(on_data, on_noise, 1.0)
        # A penalty is on the network's part of the energies, of which log Z is none.
        log_partition = self.live.get_parameter("log_partition")
        of_energy = self.as_update(data_loss.mean() + noise_loss.mean(), energies - log_partition, x)
        of_flow = self.flow.fitting(batch) if fits else self.deceiving(energies[:n].detach(), noise, minus_log_noise)
        report, flow_report = apply_all(of_energy, of_flow)
        return {
            **report,
            "accuracy": accuracy(on_data, on_noise),
            "log_partition": log_partition.detach(),
            "flow_loss": flow_report["loss"],
            "gradient_evaluations": (2 if fits else 3) * n,
        }

    def deceiving(self, energies: Tensor, noise: Tensor, minus_log_noise: Tensor) -> Update:
        """An update of the flow that makes data and noise harder to tell apart.

        Args:
            energies: E + c at data, (n,), constants.
            noise: samples of the flow (n, *event), as functions of its weights.
            minus_log_noise: -log q at data, then at noise, (2n,), as functions of them too.
        """
        with frozen(self.live):
            values, slopes = value_and_gradient(self.live, noise.detach())
        on_data, on_noise = (minus_log_noise - torch.cat([energies, to_first_order(values, slopes, noise)])).split(len(noise))
        data_loss, noise_loss = contrast(on_data, on_noise, 1.0)
        return Update(-data_loss.mean() - noise_loss.mean(), self.flow.learner)

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples of the flow."""
        x = self.flow.average.sample(n, generator)
        return Samples(self.denoised(x), "flow", before=x if self.denoises else None, gradient_evaluations=n * int(self.denoises))
