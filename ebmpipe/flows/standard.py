"""Which flow suits data of how many coordinates."""

from __future__ import annotations

from ebmpipe.config import FlowConfig

#: Splines in few dimensions, affine maps in more. Autoregressive flows are inverted by a pass for each coordinate: many have couplings.
FEW, MANY = 10, 256


def standard_flow(dimension: int) -> FlowConfig:
    """The flow that is fitted to data as the start of annealing."""
    if dimension <= FEW:
        return FlowConfig(name="spline", settings={"transforms": 3, "width": 64})
    if dimension <= MANY:
        return FlowConfig(name="affine", settings={"transforms": 3, "width": 128})
    return FlowConfig(name="affine", settings={"transforms": 6, "width": 128, "coupling": True})


def quick_flow(dimension: int, transforms: int, width: int) -> FlowConfig:
    """One of a given size that is as quick to sample as to evaluate: of couplings throughout."""
    settings = {"transforms": transforms, "width": width, "coupling": True}
    return FlowConfig(name="spline" if dimension <= FEW else "affine", settings=settings)
