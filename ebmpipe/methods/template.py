"""Template: copy this file to `<id>.py`, and change what is marked with the numbers of docs/adding-a-method.md.

It is itself a working method, trained by the contract tests.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.methods.base import EnergyMethod, Reference


class TemplateConfig(MethodConfig):
    """(1) Settings of the method; each has a description, a range, and the source's default."""

    negatives: int = Field(256, ge=1, description="samples of the base in the estimate of log Z")


class Template(EnergyMethod):
    """(2) What it computes, in a sentence or two, with its equation and source.

    Here: maximum likelihood with log Z estimated by importance sampling from the Gaussian base,
    log Z ≈ log (1/m) Σ exp(-E(y) - log q(y)), y ~ q. Fine in the plane, hopeless in many dimensions.
    """

    name = "template"  # (3) equal to the file's name
    revision = 1  # bump it when the numbers change
    title = "Importance-sampled MLE"
    references = (Reference("C. J. Geyer, E. A. Thompson", "Constrained Monte Carlo maximum likelihood for dependent data", 1992),)
    Config = TemplateConfig
    config: TemplateConfig

    @property
    def gradient_evaluations_per_step(self) -> int:
        """(4) What one update costs: every example's gradient of E, in x or in the weights, counts one."""
        return self.config.batch_size + self.config.negatives

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """(5) One whole update. Randomness only from ``generator``; weights only through `update`."""
        negative = self.base.sample(self.config.negatives, generator)
        x = torch.cat([batch, negative])
        energies = self.live(x)
        energy_data, energy_negative = energies.split([len(batch), len(negative)])
        log_partition = (self.base(negative) - energy_negative).logsumexp(0) - math.log(len(negative))
        report = self.update(energy_data.mean() + log_partition, energies, x)
        return report | {"log_partition": log_partition.detach()}
