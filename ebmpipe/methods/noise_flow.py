"""A normalising flow as the noise of contrastive estimation, trained beside the energy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import Model, OptimiserConfig
from ebmpipe.flows import FlowLaw, new_quick_flow
from ebmpipe.optimisation import Learner, Update
from ebmpipe.spec import DataSpec


class FlowConfig(Model):
    """The flow that noise comes from, and how it is updated."""

    transforms: int = Field(2, ge=1, description="invertible transforms: splines in up to ten dimensions, couplings of affine maps in more")
    width: int = Field(32, ge=1, description="units of the two hidden layers of each")
    fit: float = Field(0.2, ge=0, le=1, description="share of the updates, from the first on, in which the flow is fitted to the data")
    learning_rate: float = Field(2e-3, gt=0, le=100, description="of Adam, at its peak, under the schedule of the energy's")


class NoiseFlow(nn.Module):
    """The flow and its learner: noise is of the live weights, which change under the energy's eyes, density and all.

    Args:
        spec: the data.
        config: its size, and how it is updated.
        schedule: of the learning rate.
        iterations: length of the schedule in updates.
    """

    def __init__(self, spec: DataSpec, config: FlowConfig, schedule: Literal["cosine", "constant"], iterations: int) -> None:
        super().__init__()
        self.config = config
        law = FlowLaw(new_quick_flow(spec.dimension, config.transforms, config.width), spec)
        optimiser = OptimiserConfig(learning_rate=config.learning_rate, betas=(0.9, 0.99), gradient_clip=10.0, schedule=schedule)
        self.learner = Learner(law, optimiser, iterations)

    @property
    def law(self) -> FlowLaw:
        """The flow with the weights in training."""
        network = self.learner.network
        assert isinstance(network, FlowLaw)
        return network

    @property
    def average(self) -> FlowLaw:
        """The flow with averaged weights."""
        network = self.learner.average
        assert isinstance(network, FlowLaw)
        return network

    def fits(self, over: float) -> bool:
        """Whether it is still to be fitted to the data where ``over`` of the run, in [0, 1), is over."""
        return over < self.config.fit

    def fitting(self, batch: Tensor) -> Update:
        """An update towards the data's law by maximum likelihood: minus the mean log-density of ``batch`` (n, *event)."""
        return Update(self.law(batch).mean(), self.learner)
