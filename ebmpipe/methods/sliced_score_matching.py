"""Sliced score matching."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.derivatives import slope_and_curvature
from ebmpipe.energies import Energy, Watched
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Setup
from ebmpipe.nets.base import check_smooth


def plain_slices(energy: Energy, x: Tensor, v: Tensor) -> Tensor:
    """½ (vᵀ∇E)² - vᵀ∇²E v for each example, shape (n,), or (k, n) for k directions each.

    If E[vvᵀ] = I its expectation over v is the loss of `implicit_score_matching`, ½ ‖∇E‖² - ΔE (Song, Garg, Shi & Ermon 2019, eq. 7, where
    the score is -∇E).

    Args:
        energy: E, differentiable twice in x.
        x: examples (n, *event).
        v: directions, (n, *event) or (k, n, *event).
    """
    first, curvature = slope_and_curvature(energy, x, v)
    along = (first * v).flatten(v.dim() - x.dim() + 1).sum(-1)
    return along.square() / 2 - curvature


def variance_reduced_slices(energy: Energy, x: Tensor, v: Tensor) -> Tensor:
    """½ ‖∇E‖² - vᵀ∇²E v for each example, shape (n,), or (k, n) for k directions each.

    The expectation of (vᵀ∇E)² over v with E[vvᵀ] = I is taken exactly, and only the Laplacian is estimated, as Hutchinson does (Song,
    Garg, Shi & Ermon 2019, eq. 8).

    Args:
        energy: E, differentiable twice in x.
        x: examples (n, *event).
        v: directions, (n, *event) or (k, n, *event).
    """
    first, curvature = slope_and_curvature(energy, x, v)
    return first.flatten(1).square().sum(1) / 2 - curvature


def finite_difference_slices(energy: Energy, x: Tensor, v: Tensor, step: float) -> Tensor:
    """`plain_slices` by central differences of E, up to an error of order ``step``²: shape (n,), or (k, n) for k directions each.

    (E₊ - E₋)²/(8h²) - (E₊ + E₋ - 2E)/h² with E± = E(x ± hv), so that nothing is differentiated in x (Pang, Xu, Li, Song, Ermon & Zhu 2020).
    They go along unit vectors, u = v/‖v‖; hu then being ``step`` times u, h = ``step``/‖v‖ makes the two agree for v of any length.

    Args:
        energy: E.
        x: examples (n, *event).
        v: directions, (n, *event) or (k, n, *event), not zero.
        step: distance that points are moved by, in data units.
    """
    leading = v.dim() - x.dim() + 1
    h: Tensor = step / torch.linalg.vector_norm(v.flatten(leading), dim=-1)
    shift = h.view(*h.shape, *(1,) * (x.dim() - 1)) * v
    points = torch.cat([x[None], (x + shift).view(-1, *x.shape), (x - shift).view(-1, *x.shape)])
    energies = energy(points.flatten(0, 1)).view(points.shape[:2])
    ahead, behind = energies[1:].view(2, *h.shape)
    losses: Tensor = (ahead - behind).square() / (8 * h**2) - (ahead + behind - 2 * energies[0]) / h**2
    return losses


class SlicedScoreMatchingConfig(MethodConfig):
    """Settings of `SlicedScoreMatching`."""

    estimator: Literal["variance_reduced", "plain", "finite_difference"] = Field(
        "variance_reduced",
        description="with ½‖∇E‖² exact; with ½(vᵀ∇E)²; or that by differences of three energies, which nothing is differentiated twice for",
    )
    projection: Literal["rademacher", "gaussian"] = Field(
        "rademacher", description="law of the directions v: independent signs, or standard normal"
    )
    projections: int = Field(1, ge=1, description="directions for each example")
    step: float = Field(
        0.1,
        gt=0,
        description="distance of the finite differences' points, in model space; larger images need a larger one in single precision",
    )


class SlicedScoreMatching(EnergyMethod):
    """Score matching along random directions, one Hessian-vector product in place of the Laplacian: at the same cost in any dimension.

    Unbiased for score matching and as consistent; so is its blindness to the weights of modes that are far apart (Song, Garg, Shi & Ermon
    2019; Song & Kingma 2021, §4.2).
    """

    name = "sliced_score_matching"
    revision = 1
    title = "Sliced SM"
    references = (
        Reference(
            "Y. Song, S. Garg, J. Shi, S. Ermon",
            "Sliced score matching: a scalable approach to density and score estimation",
            2019,
            "1905.07088",
        ),
        Reference(
            "T. Pang, K. Xu, C. Li, Y. Song, S. Ermon, J. Zhu",
            "Efficient learning of generative models via finite-difference score matching",
            2020,
            "2007.03317",
        ),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = SlicedScoreMatchingConfig
    config: SlicedScoreMatchingConfig
    supports = frozenset({"space"})  # on a box the boundary terms do not vanish
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 512}, "images": {"batch_size": 128, "data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.config.estimator != "finite_difference":
            check_smooth(self, self.name)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Per example ∇ₓE, a Hessian-vector product for each direction, and the gradient of the loss in the weights.

        Of finite differences only the last, at every point where E is evaluated.
        """
        projections = self.config.projections
        each = 1 + 2 * projections if self.config.estimator == "finite_difference" else 2 + projections
        return self.config.batch_size * each

    def directions(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Directions with E[vvᵀ] = I for every example, (projections, n, *event)."""
        shape = (self.config.projections, *batch.shape)
        if self.config.projection == "gaussian":
            return torch.randn(shape, generator=generator, device=batch.device)
        return torch.randint(2, shape, generator=generator, device=batch.device).to(batch).mul_(2).sub_(1)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        v, energy = self.directions(batch, generator), Watched(self.live)
        if self.config.estimator == "finite_difference":
            losses = finite_difference_slices(energy, batch, v, self.config.step)
        else:
            losses = (plain_slices if self.config.estimator == "plain" else variance_reduced_slices)(energy, batch, v)
        return self.update(losses.mean(), energy.seen, energy.x)
