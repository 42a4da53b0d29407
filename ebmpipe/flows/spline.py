"""A flow of vectors made of splines."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import nn

from ebmpipe.flows.zuko_flow import ZukoConfig, ZukoFlow


class SplineConfig(ZukoConfig):
    """Settings of `Spline`."""

    bins: int = Field(8, ge=1, description="pieces of each spline")


class Spline(ZukoFlow):
    """Each transform moves a coordinate by a monotonic rational-quadratic spline of what a network makes of others (Durkan et al. 2019)."""

    name = "spline"
    revision = 1
    Config = SplineConfig

    def made(self, config: ZukoConfig, shared: dict[str, Any]) -> nn.Module:
        import zuko

        assert isinstance(config, SplineConfig)
        flow: nn.Module = zuko.flows.NSF(self.dimension, bins=config.bins, **shared)
        return flow
