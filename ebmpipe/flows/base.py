"""The contract of a normalising flow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ebmpipe import registry
from ebmpipe.config import FlowConfig
from ebmpipe.spec import DataSpec, Kind


class FlowSettings(BaseModel):
    """Base of the settings of a flow: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Flow(nn.Module, ABC):
    """A differentiable map x ↦ z of standardised events to vectors of as many numbers, with a differentiable inverse g: z ↦ x.

    With z ~ N(0, I) the law of x = g(z) has the density N(z(x); 0, I) |det ∂z/∂x|, which `ebmpipe.flows.law.FlowLaw` is.

    Args:
        shape: event shape.
        config: its settings.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the map of the same weights, or their initialisation, changes.
        kinds: the kinds of data it takes.
        Config: its settings.
        dimension: of z.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    kinds: ClassVar[frozenset[Kind]]
    Config: ClassVar[type[FlowSettings]]

    def __init__(self, shape: tuple[int, ...], config: FlowSettings) -> None:
        super().__init__()
        self.shape, self.dimension = shape, prod(shape)

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, (n, dimension), and log |det ∂z/∂x| in nats, (n,), of standardised events ``x`` (n, *event)."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """The events (n, *event) that `forward` maps to ``z`` (n, dimension)."""

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set weights that begin where the data are, by standardised examples ``x`` (n, *event); most flows have none."""
        return


def build_flow(config: FlowConfig, spec: DataSpec) -> Flow:
    """The flow that ``config`` names, for events of ``spec``; weights from torch's global stream.

    Raises:
        UnknownMember: if there is no such flow.
        ValueError: if it cannot take this kind of data, or a setting is wrong.
    """
    flow = registry.load("flows", config.name)
    if spec.kind not in flow.kinds:
        raise ValueError(f"flow {config.name!r} takes {', '.join(sorted(flow.kinds))}; {spec.name} is {spec.kind}")
    built: Flow = flow(spec.shape, flow.Config.model_validate(config.settings))
    return built
