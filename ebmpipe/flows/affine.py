"""A flow of vectors made of affine maps."""

from __future__ import annotations

from typing import Any

from torch import nn

from ebmpipe.flows.zuko_flow import ZukoConfig, ZukoFlow


class Affine(ZukoFlow):
    """Each transform shifts and scales a coordinate by what a network makes of others."""

    name = "affine"
    revision = 1

    def made(self, config: ZukoConfig, shared: dict[str, Any]) -> nn.Module:
        import zuko

        flow: nn.Module = zuko.flows.MAF(self.dimension, **shared)
        return flow
