"""Particle dynamics along the best field that a few features have."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energies import frozen
from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.base import ByKind, Setup
from ebmpipe.methods.particle_dynamics import LONGEST, ParticleDynamics, ParticleDynamicsConfig
from ebmpipe.nets.base import HeadedNetwork
from ebmpipe.spec import Kind


def quadratic_features(x: Tensor) -> tuple[Tensor, Tensor]:
    """x_i, and x_i x_j of all i ≤ j: values (n, k) and slopes (n, k, coordinates) at ``x`` (n, coordinates)."""
    n, d = x.shape
    row, column = torch.triu_indices(d, d, device=x.device)
    unit = torch.eye(d, dtype=x.dtype, device=x.device)
    slopes = x[:, row, None] * unit[column] + x[:, column, None] * unit[row]
    return torch.cat([x, x[:, row] * x[:, column]], 1), torch.cat([unit.expand(n, d, d), slopes], 1)


def galerkin_field(features: Tensor, slopes: Tensor, change: Tensor, weights: Tensor | None = None, ridge: float = 0.0) -> Tensor:
    """∇φ at every particle, (n, coordinates), of the φ = Σ c_k f_k that solves div(p ∇φ) = p (ΔE - E_p ΔE) tested against every f_k.

    That is A c = -b with A = E_p[∇f_k·∇f_l] and b = E_p[f_k (ΔE - E_p ΔE)]: the particles' E[f_k] then changes, to first order, as the
    model's does, which is -Cov(f_k, ΔE).

    Args:
        features: f_k at the particles, (n, k).
        slopes: ∇f_k there, (n, k, coordinates).
        change: ΔE there in nats, (n,).
        weights: what each counts in E_p, (n,), summing to 1; None: 1/n.
        ridge: added to the diagonal of A, in units of its mean.
    """
    features, slopes, change = features.double(), slopes.double(), change.double()
    w = change.new_full((len(change),), 1 / len(change)) if weights is None else weights.double()
    a = torch.einsum("n,nkd,nld->kl", w, slopes, slopes)
    b = features.T @ (w * (change - w @ change))
    a.diagonal().add_(ridge * a.diagonal().mean())
    # Without a ridge features may depend on each other: of all solutions the smallest.
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(a)) if ridge else torch.linalg.pinv(a, hermitian=True)
    c = -inverse @ b
    return torch.einsum("k,nkd->nd", c, slopes)


class PDGalerkinConfig(ParticleDynamicsConfig):
    """Settings of `PDGalerkin`."""

    features: Literal["quadratic", "last_layer"] = Field(
        "last_layer",
        description="what the field's potential is made of: coordinates and their products, or those and the inputs of the network's head",
    )
    longest: float | None = Field(0.05, gt=0, description=LONGEST)
    ridge: float = Field(1e-3, ge=0, description="added to the diagonal of the normal equations, in units of its mean")


class PDGalerkin(ParticleDynamics):
    """y ← y + α ∇φ(y) with φ the best combination of features: the exact field as far as they span it.

    With coordinates and their products it is exact for Gaussians. The inputs of the network's head are what the energy itself is
    made of, and know modes. Where the true potential is none of theirs, expectations of the features still change as they should, without
    a ridge and as long as no step is shortened.

    An update by a small batch asks for more than particles can follow: a shift of a law broader than a unit moves them further than ∇ΔE by
    its variance, and what the batch's noise did to the energy the field makes up for. Steps are therefore limited, and by the default most
    of them are shortened (``allowed`` in the history): the direction is then the field's, the length is not.
    """

    name = "pd_galerkin"
    revision = 1
    title = "PD Galerkin"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors"})  # slopes of all features at all particles
    settings_by_kind: ClassVar[ByKind] = {}
    supports = frozenset({"space"})  # only images have a box
    Config = PDGalerkinConfig
    config: PDGalerkinConfig

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.config.features == "last_layer" and not isinstance(self.live.network, HeadedNetwork):
            raise ValueError(f"{self.name} finds no features in network {setup.network.name!r}: set `features: quadratic`")

    @property
    def field_evaluations(self) -> int:
        """ΔE at each particle, and where the network's features are used their derivatives along every coordinate."""
        coordinates = self.spec.dimension if self.config.features == "last_layer" else 0
        return self.config.particles * (2 + coordinates)

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        flat = ((x - self.spec.mean) / self.spec.std).flatten(1)
        features, slopes = quadratic_features(flat)
        if self.config.features == "last_layer":
            values, derivatives = self.of_the_head(flat, x.shape)
            features, slopes = torch.cat([features, values], 1), torch.cat([slopes, derivatives], 1)
        step = galerkin_field(features, slopes, change.value_and_slope(x)[0], ridge=self.config.ridge)
        # ∇φ in x is 1/s of that in (x - m)/s, of which A has taken the square.
        return (self.spec.std * step).to(x).view(x.shape)

    @torch.no_grad()
    def of_the_head(self, z: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Inputs of the head (n, k) and their slopes (n, k, coordinates) at standardised examples ``z`` (n, coordinates) of ``shape``."""
        network, n = self.live.network, len(z)
        assert isinstance(network, HeadedNetwork)

        def features(points: Tensor) -> Tensor:
            return network.features(points.view(shape))

        units = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        with frozen(network):
            values = features(z)
            slopes = [torch.func.jvp(features, (z,), (unit.expand(n, -1),))[1] for unit in units]
        return values, torch.stack(slopes, dim=2)
