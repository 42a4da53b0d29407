"""Flows small enough for whole Jacobians, away from where they begin."""

from pathlib import Path

import torch

from ebmpipe.config import FlowConfig
from ebmpipe.flows.base import build_flow
from ebmpipe.spec import DataSpec

#: A flow small enough for whole Jacobians, of every registered one in each way that it inverts.
SMALL = {
    "affine": [{"transforms": 3, "width": 8, "activation": "silu"}, {"transforms": 4, "width": 8, "coupling": True, "activation": "silu"}],
    "spline": [{"transforms": 2, "width": 8, "activation": "silu"}, {"transforms": 2, "width": 8, "coupling": True, "activation": "silu"}],
    "glow": [{"depth": 2, "width": 4}, {"depth": 1, "width": 4, "levels": 1}],
}
SHAPES = {"affine": [(2,), (5,), (1, 4, 4)], "spline": [(2,), (5,)], "glow": [(1, 4, 4), (3, 4, 8)]}
CASES = [(name, shape, settings) for name, shapes in SHAPES.items() for shape in shapes for settings in SMALL[name]]


def spec_of(shape):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.4, 1.7, None, None, None, Path())


def flow_of(name, shape, settings, shake=0.2):
    """A flow whose weights are away from where they begin, where couplings do nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build_flow(FlowConfig(name=name, settings=settings), spec_of(shape))
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=shake)
    return flow.requires_grad_(False)


def points(shape, n=5, dtype=torch.float64):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
