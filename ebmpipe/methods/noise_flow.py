"""A normalising flow as the noise of contrastive estimation, trained beside the energy."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import Model, OptimiserConfig
from ebmpipe.energies import GaussianLaw, Law
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.flows.standard import quick_flow
from ebmpipe.optimisation import Learner, Update
from ebmpipe.spec import DataSpec


class NoiseFlowConfig(Model):
    """The flow that noise comes from, and how it is updated."""

    transforms: int = Field(2, ge=1, description="invertible transforms: splines in up to ten dimensions, couplings of affine maps in more")
    width: int = Field(32, ge=1, description="units of the two hidden layers of each")
    fit: float = Field(
        0.5, ge=0, lt=1, description="share of the run, from its beginning, in which the flow is fitted to the data and is no noise yet"
    )
    cover: float = Field(
        0.5, ge=0, lt=1, description="share of the noise that is drawn from a broad Gaussian instead, so that it reaches where no data are"
    )
    learning_rate: float = Field(2e-3, gt=0, le=100, description="of Adam, at its peak, under the schedule of the energy's")


class CoveredLaw(Law):
    """(1 - α) q + α N: a flow's law q with a Gaussian that reaches everywhere.

    A flow close to the data never shows the energy what lies away from them, where nothing else would raise it.

    Args:
        flow: q.
        gaussian: N.
        cover: α in [0, 1).
    """

    def __init__(self, flow: FlowLaw, gaussian: GaussianLaw, cover: float) -> None:
        super().__init__(flow.shape)
        self.flow, self.gaussian, self.cover = flow, gaussian, cover

    def forward(self, x: Tensor) -> Tensor:
        if not self.cover:
            alone: Tensor = self.flow(x)
            return alone
        value: Tensor = -torch.logaddexp(math.log1p(-self.cover) - self.flow(x), math.log(self.cover) - self.gaussian(x))
        return value

    def grad(self, x: Tensor) -> Tensor:
        return self.value_and_grad(x)[1]

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flow, flow_slope = self.flow.value_and_grad(x)
        if not self.cover:
            return flow, flow_slope
        value, of_gaussian = self.forward(x).detach(), math.log(self.cover) - self.gaussian(x)
        share = (value + of_gaussian).exp().view(-1, *[1] * (x.dim() - 1))
        return value, (1 - share) * flow_slope + share * self.gaussian.grad(x)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.reparametrised(n, generator)

    def reparametrised(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` samples, as functions of the flow's weights; the last of them, as many as their share comes to, are the Gaussian's."""
        due = round(self.cover * n, 6)
        covering = int(due)
        if due > covering:  # the share is that of the density in the mean, whatever n is
            covering += int(torch.rand((), generator=generator, device=generator.device) < due - covering)
        return torch.cat([self.flow.reparametrised(n - covering, generator), self.gaussian.sample(covering, generator)])


class NoiseFlow(nn.Module):
    """The flow and its learner: noise is of the live weights, which change under the energy's eyes, density and all.

    Args:
        spec: the data.
        config: its size, and how it is updated.
        cover: the Gaussian beside it.
        schedule: of the learning rate.
        iterations: length of the schedule in updates.
    """

    def __init__(
        self, spec: DataSpec, config: NoiseFlowConfig, cover: GaussianLaw, schedule: Literal["cosine", "constant"], iterations: int
    ) -> None:
        super().__init__()
        self.config = config
        flow = FlowLaw(build_flow(quick_flow(spec.dimension, config.transforms, config.width), spec), spec)
        optimiser = OptimiserConfig(learning_rate=config.learning_rate, betas=(0.9, 0.99), gradient_clip=10.0, schedule=schedule)
        self.learner = Learner(CoveredLaw(flow, cover, config.cover), optimiser, iterations)

    @property
    def law(self) -> CoveredLaw:
        """That of the noise, with the flow's weights in training."""
        network = self.learner.network
        assert isinstance(network, CoveredLaw)
        return network

    @property
    def average(self) -> FlowLaw:
        """The flow alone, with averaged weights."""
        network = self.learner.average
        assert isinstance(network, CoveredLaw)
        return network.flow

    def fits(self, over: float) -> bool:
        """Whether it is still to be fitted to the data where ``over`` of the run, in [0, 1), is over."""
        return over < self.config.fit

    def noise(self, over: float) -> CoveredLaw | GaussianLaw:
        """The law of the noise where ``over`` of the run is over: the Gaussian's alone while the flow is still fitted to the data."""
        return self.law.gaussian if self.fits(over) else self.law

    def drawn(self, n: int, over: float, generator: torch.Generator) -> Tensor:
        """``n`` samples of it, as functions of the flow's weights, if they are the flow's."""
        law = self.noise(over)
        return law.reparametrised(n, generator) if isinstance(law, CoveredLaw) else law.sample(n, generator)

    def fitting(self, batch: Tensor) -> Update:
        """An update towards the data's law by maximum likelihood: minus the flow's mean log-density of ``batch`` (n, *event)."""
        return Update(self.law.flow(batch).mean(), self.learner)
