"""A normalising flow, fitted by maximum likelihood."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import FlowConfig, MethodConfig, OptimiserConfig
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.methods.base import ByKind, Reference, Setup
from ebmpipe.methods.transported import Transported


class FlowMethodConfig(MethodConfig):
    """Settings of `NormalisingFlow`."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    architecture: FlowConfig = Field(FlowConfig(), description="the flow")
    counts_as: int = Field(
        1,
        ge=1,
        description="gradient evaluations that the pass of one example counts as in the budget: a flow whose pass takes the operations of "
        "many gradients of an energy network gets as many fewer",
    )
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(learning_rate=1e-3, betas=(0.9, 0.99), gradient_clip=10.0), description="how the flow is updated"
    )


class NormalisingFlow(Transported):
    """Maximum likelihood of a density that is known with its normaliser: E is minus its logarithm, and log Z is 0.

    The law of g(z) with z ~ N(0, I) and an invertible g, whose determinant the density is made of. Samples are exact and take no chain. A
    row of its own, and the backbone of models that tilt it. The energy network of the other methods has no part in it.
    """

    name = "flow"
    revision = 1
    title = "Normalising flow"
    references = (
        Reference("L. Dinh, J. Sohl-Dickstein, S. Bengio", "Density estimation using Real NVP", 2017, "1605.08803"),
        Reference("D. P. Kingma, P. Dhariwal", "Glow: generative flow with invertible 1x1 convolutions", 2018, "1807.03039"),
        Reference("C. Durkan, A. Bekasov, I. Murray, G. Papamakarios", "Neural spline flows", 2019, "1906.04032"),
        Reference("G. Papamakarios, T. Pavlakou, I. Murray", "Masked autoregressive flow for density estimation", 2017, "1705.07057"),
    )
    Config = FlowMethodConfig
    config: FlowMethodConfig
    exact_sampler = True
    sampler = "flow"
    settings_by_kind: ClassVar[ByKind] = {
        "density": {
            "batch_size": 512,
            "architecture": {"name": "spline", "settings": {"transforms": 2, "coupling": True, "activation": "silu"}},
        },
        "images": {"counts_as": 16, "architecture": {"name": "glow", "settings": {"depth": 4, "width": 32}}},
    }

    def made(self, setup: Setup) -> nn.Module:
        assert isinstance(setup.config, FlowMethodConfig)
        return FlowLaw(build_flow(setup.config.architecture, setup.spec), setup.spec)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example once, in the weights, by what a pass of the flow counts as."""
        return self.config.batch_size * self.config.counts_as

    def begin(self, batch: Tensor) -> None:
        """Let the flow, and the average of its weights, begin where ``batch`` (n, *event) is."""
        for law in (self.live, self.law):
            assert isinstance(law, FlowLaw)
            law.initialise(batch)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        if not int(self.learner.updates):
            self.begin(batch)
        energies = self.live(batch)
        return self.update(energies.mean(), energies, batch)
