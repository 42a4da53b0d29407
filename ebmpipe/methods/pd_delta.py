"""Particle dynamics along the field of the energy's own tangent kernel."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils import parametrize

from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.base import ByKind
from ebmpipe.methods.particle_dynamics import COEFFICIENT, ParticleDynamics, ParticleDynamicsConfig
from ebmpipe.spec import Kind


def tangent_field(change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
    """E_data[k(x, y) ∇E(x) - ∇ₓk(x, y)] at every particle y, shape of the particles, with k(x, y) = ⟨∇_θE(x), ∇_θE(y)⟩.

    Coordinate i is ⟨∇_θE(y), U_i⟩ with U_i = ∇_θ E_data[∂_iE(x)₀ E(x) - ∂_iE(x)], the index meaning a constant: a derivative in the
    weights per coordinate over the data, and one per coordinate at each particle. Kernels between pairs are never formed.

    Args:
        change: whose new energy it is taken of.
        x: the particles, (n, *event).
        batch: examples, (m, *event).
    """
    parameters, points = list(change.new.parameters()), batch.detach().requires_grad_(True)
    with torch.enable_grad(), parametrize.cached():
        energies = change.new(points)
        (slope,) = torch.autograd.grad(energies.sum(), points, create_graph=True)
        columns = slope.flatten(1)
        means = (columns.detach() * energies[:, None] - columns).mean(0)
        directions = [torch.autograd.grad(mean, parameters, retain_graph=True, materialize_grads=True) for mean in means]
    return torch.stack([change.along(x, list(direction)) for direction in directions], dim=1).view(x.shape)


class PDDeltaConfig(ParticleDynamicsConfig):
    """Settings of `PDDelta`."""

    coefficient: float = Field(1e-5, ge=0, description=f"{COEFFICIENT}. The field is as large as the tangent kernel")


class PDDelta(ParticleDynamics):
    """y ← y + α E_data[k(x, y) ∇E(x) - ∇ₓk(x, y)], which is α E_data[k(x, y) ∇(log p_data - log p)(x)], with the energy's tangent kernel k.

    A field of the authors' published code that none of their figures shows: a Stein variational direction under the data, away from
    the model. It knows nothing of what the optimiser did, and grows with the tangent kernel, which is larger the wider and
    steeper the network: the authors' α of 1e-3 throws particles out of any bounds with the network of the plane here.
    """

    name = "pd_delta"
    revision = 1
    title = "PD Delta"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors"})  # as many derivatives as an event has coordinates
    settings_by_kind: ClassVar[ByKind] = {}
    supports = frozenset({"space"})  # only images have a box
    Config = PDDeltaConfig
    config: PDDeltaConfig

    @property
    def field_evaluations(self) -> int:
        """∇ₓE at the data, then a derivative in the weights for every coordinate at data and particles."""
        coordinates = self.spec.dimension
        return self.config.batch_size * (1 + coordinates) + self.config.particles * coordinates

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        return tangent_field(change, x, batch)
