"""Persistent contrastive divergence."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, MethodConfig
from ebmpipe.energies import frozen
from ebmpipe.methods.base import EnergyMethod, Reference, Samples, Setup, build_kernel
from ebmpipe.optimisation import apply_gradients


class PCDConfig(MethodConfig):
    """Settings of `PCD`."""

    chains: int = Field(256, ge=1, description="number of persistent chains; at least the batch size")
    steps: int = Field(20, ge=1, description="steps of the kernel per update")
    kernel: KernelConfig = Field(KernelConfig(name="mala", settings={"step_size": 0.25}), description="the kernel that moves the chains")
    restart: float = Field(0.0, ge=0, le=1, description="probability that a drawn chain starts anew from the Gaussian base")


class PCD(EnergyMethod):
    """Maximum likelihood with negative samples from chains that persist between updates.

    The gradient of the log-likelihood is -∂E(x) + E_p[∂E]; the model's expectation is taken over chains that each update
    moves a few steps under the energy as it then is. Chains are drawn without replacement and written back to the slots
    they came from, so that none is ever lost (Younes 1999; Tieleman 2008; Song & Kingma 2021, §3).
    """

    name = "pcd"
    revision = 1
    title = "PCD"
    references = (
        Reference("L. Younes", "On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity rates", 1999),
        Reference("T. Tieleman", "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = PCDConfig
    config: PCDConfig
    positions: Tensor
    ages: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.config.chains < self.config.batch_size:
            raise ValueError(
                f"pcd needs at least as many chains as the batch has examples: {self.config.chains} < {self.config.batch_size}"
            )
        self.kernel = build_kernel(self.config.kernel)
        self.register_buffer("positions", self.base.sample(self.config.chains, setup.generator))
        self.register_buffer("ages", torch.zeros(self.config.chains, dtype=torch.int64))

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every step of every drawn chain, then positives and negatives once."""
        return self.config.batch_size * (self.kernel.cost(self.config.steps) + 2)

    @property
    def temperature(self) -> float:
        return self.kernel.temperature

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        device, count = batch.device, len(batch)
        drawn = torch.randperm(len(self.positions), generator=generator, device=device)[:count]
        start, age = self.positions[drawn], self.ages[drawn]
        if self.config.restart:
            fresh = torch.rand(count, generator=generator, device=device) < self.config.restart
            start = torch.where(fresh.view(-1, *[1] * (start.dim() - 1)), self.base.sample(count, generator), start)
            age = age.masked_fill(fresh, 0)
        with frozen(self.live):
            negative, summary = samplers.run(self.kernel, self.live, start, self.config.steps, generator)
        # One forward pass for both halves: at this size the calls cost more than the arithmetic.
        energies = self.live(torch.cat([batch, negative]))
        positive_energy, negative_energy = energies.split(count)
        report: dict[str, Any] = dict(apply_gradients(positive_energy.mean() - negative_energy.mean(), self.learner, energies))
        # After the update, which refuses what is not finite: a run that diverges keeps the chains of its last good state.
        self.positions[drawn], self.ages[drawn] = negative, age + self.config.steps
        report |= {
            "energy_data": positive_energy.mean().detach(),
            "energy_negative": negative_energy.mean().detach(),
            "age": self.ages.double().mean(),
        }
        return report | ({"acceptance": summary.acceptance} if self.kernel.adjusted else {})

    def chains(self) -> Samples:
        steps = self.ages.double().mean()
        kernel = self.config.kernel.model_dump(mode="json")
        return Samples(self.positions, sampler_steps=round(float(steps)), temperature=self.temperature, notes={"kernel": kernel})
