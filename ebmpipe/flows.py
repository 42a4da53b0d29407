"""Normalising flows as laws: normalised densities that can be sampled and are close to the data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ebmpipe.energies import Law, value_and_gradient
from ebmpipe.spec import DataSpec

#: Masked autoregressive flows (Papamakarios et al. 2017): of splines (Durkan et al. 2019) in few dimensions, of affine maps in more. Their
#: inverse takes a pass for each dimension; in many, the affine maps are therefore couplings of two halves (Dinh et al. 2017).
SPLINE: dict[str, Any] = {"transforms": 3, "hidden_features": (64, 64), "bins": 8}
AFFINE: dict[str, Any] = {"transforms": 3, "hidden_features": (128, 128)}
COUPLING: dict[str, Any] = {"transforms": 6, "hidden_features": (128, 128), "passes": 2}
FEW, MANY = 10, 256


def new_flow(dimension: int) -> nn.Module:
    """An untrained flow of vectors (n, dimension), whose weights come from torch's global stream."""
    import zuko

    if dimension <= FEW:
        flow: nn.Module = zuko.flows.NSF(dimension, **SPLINE)
    else:
        flow = zuko.flows.MAF(dimension, **(AFFINE if dimension <= MANY else COUPLING))
    return flow


def new_quick_flow(dimension: int, transforms: int, width: int) -> nn.Module:
    """As `new_flow`, of a given size, and as quick to sample as to evaluate: of couplings throughout."""
    import zuko

    size: dict[str, Any] = {"transforms": transforms, "hidden_features": (width, width), "passes": COUPLING["passes"]}
    if dimension <= FEW:
        flow: nn.Module = zuko.flows.NSF(dimension, bins=SPLINE["bins"], **size)
    else:
        flow = zuko.flows.MAF(dimension, **size)
    return flow


class FlowLaw(Law):
    """The law of a flow over events, in units of the data's standard deviation about their mean. Its support is the whole space.

    Args:
        flow: over flattened events; calling it gives a distribution with a base and an invertible transform.
        spec: the data.
    """

    def __init__(self, flow: nn.Module, spec: DataSpec) -> None:
        super().__init__(spec.shape)
        self.flow, self.mean, self.std = flow, spec.mean, spec.std
        self.log_scale = spec.dimension * math.log(spec.std)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.log_scale - self.flow().log_prob(((x - self.mean) / self.std).flatten(1))
        return value

    def grad(self, x: Tensor) -> Tensor:
        return self.value_and_grad(x)[1]

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # By autograd: through `forward` alone, as this object offers a gradient that would call itself.
        return value_and_gradient(self.forward, x)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.reparametrised(n, generator)

    def reparametrised(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` samples, as functions of the flow's weights."""
        # zuko's own sampling draws from torch's global stream.
        z = torch.randn(n, math.prod(self.shape), generator=generator, device=generator.device)
        x: Tensor = self.flow().transform.inv(z)
        return (x * self.std + self.mean).view(n, *self.shape)
