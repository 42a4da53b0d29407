"""What the flows of vectors share: they are zuko's."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ebmpipe.flows.base import Flow, FlowSettings
from ebmpipe.spec import Kind


class ZukoConfig(FlowSettings):
    """Settings of every `ZukoFlow`."""

    transforms: int = Field(3, ge=1, description="invertible transforms, one after the other")
    width: int = Field(64, ge=1, description="units of each of the two hidden layers that a transform's numbers come from")
    coupling: bool = Field(
        False,
        description="each transform moves half of the coordinates given the others, so that the inverse takes two passes; else each is "
        "moved given all before it, and the inverse takes a pass for each",
    )
    activation: Literal["relu", "silu"] = Field(
        "relu", description="of the hidden layers; chains that follow gradients through it want silu"
    )


class ZukoFlow(Flow):
    """A flow of flattened events, of transforms that are masked autoregressive (Papamakarios, Pavlakou & Murray 2017) or couplings of two
    halves (Dinh, Sohl-Dickstein & Bengio 2017)."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors", "images"})
    Config: ClassVar[type[FlowSettings]] = ZukoConfig

    def __init__(self, shape: tuple[int, ...], config: FlowSettings) -> None:
        super().__init__(shape, config)
        assert isinstance(config, ZukoConfig)
        shared = {
            "transforms": config.transforms,
            "hidden_features": (config.width, config.width),
            "passes": 2 if config.coupling else None,
            "activation": {"relu": nn.ReLU, "silu": nn.SiLU}[config.activation],
        }
        self.flow = self.made(config, shared)

    @abstractmethod
    def made(self, config: ZukoConfig, shared: dict[str, Any]) -> nn.Module:
        """zuko's flow of vectors of as many numbers as events have, with the arguments ``shared`` that all its flows take."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.flow().transform.call_and_ladj(x.flatten(1))
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        x: Tensor = self.flow().transform.inv(z)
        return x.view(len(z), *self.shape)
