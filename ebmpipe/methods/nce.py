"""Noise contrastive estimation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import MethodConfig
from ebmpipe.energies import GaussianLaw, Law
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Setup
from ebmpipe.methods.noise_contrast import NormalisedEnergy, accuracy, contrast
from ebmpipe.methods.noise_flow import NoiseFlow, NoiseFlowConfig
from ebmpipe.optimisation import apply_all


class NCEConfig(MethodConfig):
    """Settings of `NCE`."""

    ratio: int = Field(1, ge=1, description="ν, noise samples per example")
    noise: Literal["gaussian", "flow"] = Field(
        "gaussian", description="law of the noise: a Gaussian, on a box uniform; or a flow that is fitted to the data first, then fixed"
    )
    noise_width: float = Field(
        1.25,
        gt=0,
        description="standard deviation of the Gaussian noise in units of the data's; of no use on a box, where noise is uniform",
    )
    flow: NoiseFlowConfig = Field(NoiseFlowConfig(), description="the flow, where the noise comes from one")


class NCE(EnergyMethod):
    """Learns E and log Z by telling data from noise with the model as the classifier's log-odds.

    Consistent, and as ν → ∞ as efficient as maximum likelihood; the noise must cover the data and be hard to tell from them
    (Gutmann & Hyvärinen 2010, 2012; Song & Kingma 2021, §5).
    """

    name = "nce"
    revision = 2
    title = "NCE"
    references = (
        Reference(
            "M. Gutmann, A. Hyvärinen", "Noise-contrastive estimation: a new estimation principle for unnormalized statistical models", 2010
        ),
        Reference(
            "M. Gutmann, A. Hyvärinen",
            "Noise-contrastive estimation of unnormalized statistical models, with applications to natural image statistics",
            2012,
        ),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = NCEConfig
    config: NCEConfig
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        config, self.flow = self.config, None
        # Noise beyond the box would be told from data by that alone: there it is the uniform base.
        self.gaussian = self.base if self.base.support else GaussianLaw.of(setup.spec, config.noise_width)
        if config.noise == "flow":
            if not isinstance(self.gaussian, GaussianLaw):
                raise ValueError(
                    f"{self.name}: a flow reaches beyond the box, and would be told from data by that alone: set noise to gaussian"
                )
            if not config.flow.fit:
                raise ValueError(f"{self.name}: a flow of fit 0 is never fitted to the data here: set fit above 0")
            self.flow = NoiseFlow(setup.spec, config.flow, self.gaussian, config.optimiser.schedule, setup.iterations)
        elif config.flow != NoiseFlowConfig():
            raise ValueError(f"{self.name}: settings of a flow do nothing where noise is gaussian: set noise to flow, or leave them out")

    @property
    def noise(self) -> Law:
        """The law of the noise as it now is."""
        return self.gaussian if self.flow is None else self.flow.noise(self.learner.over)

    def made(self, setup: Setup) -> nn.Module:
        return NormalisedEnergy(super().made(setup))

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and every noise sample once."""
        return self.config.batch_size * (1 + self.config.ratio)

    @property
    def random_cost(self) -> bool:
        """With a flow updates differ in operations, though not in gradients of E."""
        return self.flow is not None

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        noise = self.noise.sample(len(batch) * self.config.ratio, generator)
        x = torch.cat([batch, noise])
        energies = self.live(x)
        with torch.no_grad():
            minus_log_noise = self.noise(x)
        on_data, on_noise = (minus_log_noise - energies).split([len(batch), len(noise)])
        data_loss, noise_loss = contrast(on_data, on_noise, self.config.ratio)
        # A penalty is on the network's part of the energies, of which log Z is none.
        log_partition = self.live.get_parameter("log_partition")
        updates = [self.as_update(data_loss.mean() + self.config.ratio * noise_loss.mean(), energies - log_partition, x)]
        if self.flow and self.flow.fits(self.learner.over):
            updates.append(self.flow.fitting(batch))
        report, *of_flow = apply_all(*updates)
        return {
            **report,
            "accuracy": accuracy(on_data, on_noise, self.config.ratio),
            "log_partition": log_partition.detach(),
            **({"flow_nll": of_flow[0]["loss"]} if of_flow else {}),
            **({"gradient_evaluations": len(x)} if self.random_cost else {}),
        }
