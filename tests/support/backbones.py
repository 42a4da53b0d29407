"""Trained runs that methods build on, made by hand."""

from types import SimpleNamespace

import torch

from ebmpipe import registry
from ebmpipe.flows.base import Flow, FlowSettings
from ebmpipe.flows.law import FlowLaw
from ebmpipe.methods import build

SMALL_FLOW = {"architecture": {"name": "affine", "settings": {"transforms": 2, "width": 8, "coupling": True, "activation": "silu"}}}


class Identity(Flow):
    """x = z."""

    name = "identity"
    revision = 1
    kinds = frozenset({"density", "vectors", "images"})
    Config = FlowSettings

    def forward(self, x):
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, z):
        return z.view(-1, *self.shape)


def gaussian_backbone(spec):
    """What tilts its law tilts N(m, s²) with the data's mean and deviation."""
    return SimpleNamespace(law=FlowLaw(Identity(spec.shape, FlowSettings()), spec).eval(), noise_level=0.0)


def required_of(name, spec):
    """Untrained runs for every role that the method ``name`` requires, of small flows."""
    roles = registry.load("methods", name).requires
    with torch.random.fork_rng():
        return {role: build("flow", spec, SMALL_FLOW, 0) for role in roles if spec.kind in registry.load("methods", "flow").kinds}
