"""Minimum probability flow."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference
from ebmpipe.methods.neighbours import Scale, with_neighbours


def probability_flow(here: Tensor, there: Tensor) -> Tensor:
    """exp(½ (E(x) - E(x'))), the rate at which probability leaves x for x', shape of ``here``.

    Under rates of this form the law p is stationary. Its mean over data and neighbours is, up to a constant, how fast the
    Kullback-Leibler divergence from the data grows where data start to flow to p (Sohl-Dickstein, Battaglino & DeWeese 2011, eq. 9, 14).

    Args:
        here: E at data, in nats.
        there: E at a neighbour of each, drawn from a symmetric law.
    """
    return ((here - there) / 2).exp()


class MinimumProbabilityFlowConfig(MethodConfig):
    """Settings of `MinimumProbabilityFlow`."""

    scales: tuple[Scale, ...] = Field(
        (0.3, 1.0), min_length=1, description="standard deviations of the noise, in units of the data's; each example draws one of them"
    )


class MinimumProbabilityFlow(EnergyMethod):
    """Lets as little probability as possible flow from the data to their neighbours under dynamics that would carry it to the model.

    The neighbour of an example is its copy with Gaussian noise, and the loss is the mean of exp(½ (E(x) - E(x'))): consistent for noise of
    any size, with no log Z. For little noise of width ε it is 1 + (ε²/4) J_SM, score matching.
    """

    name = "minimum_probability_flow"
    revision = 1
    title = "Minimum probability flow"
    references = (
        Reference("J. Sohl-Dickstein, P. Battaglino, M. R. DeWeese", "Minimum probability flow learning", 2011, "0906.4779"),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = MinimumProbabilityFlowConfig
    config: MinimumProbabilityFlowConfig
    supports = frozenset({"space"})  # a neighbour outside of the box would be told by that alone
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"data_noise": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and its neighbour once."""
        return 2 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        x = with_neighbours(batch, self.config.scales, self.spec.std, generator)
        energies = self.live(x)
        here, there = energies.split(len(batch))
        report = self.update(probability_flow(here, there).mean(), energies, x)
        return report | {"accuracy": (here < there).double().mean()}
