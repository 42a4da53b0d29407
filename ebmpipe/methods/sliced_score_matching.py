"""Sliced score matching."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.derivatives import slope_and_curvatures
from ebmpipe.energies import Energy, Watched
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference

Directions = Literal["rademacher", "gaussian"]


def directions(like: Tensor, count: int, law: Directions, generator: torch.Generator) -> Tensor:
    """``count`` random directions v with E[vvᵀ] = I for each example of ``like`` (n, *event): (count, n, *event)."""
    shape, device = (count, *like.shape), like.device
    if law == "gaussian":
        return torch.randn(shape, generator=generator, device=device, dtype=like.dtype)
    return torch.randint(0, 2, shape, generator=generator, device=device).to(like.dtype).mul_(2).sub_(1)


def _per_direction(a: Tensor, b: Tensor) -> Tensor:
    """Σ a b over events, (m, n)."""
    return (a * b).flatten(2).sum(2)


def sliced_score_matching(energy: Energy, x: Tensor, v: Tensor) -> Tensor:
    """½ (vᵀ∇E)² - vᵀ∇²E v for each example, averaged over its directions, shape (n,), in nats per squared unit of x.

    With the model's score s = -∇E it is ½ (vᵀs)² + vᵀ∇s v, the form of sliced score matching that holds for any law of directions (Song,
    Garg, Shi & Ermon 2019, eq. 7). Where E[vvᵀ] = I its expectation over v is ½ ‖∇E‖² - ΔE, that of `implicit_score_matching`.

    Args:
        energy: E, differentiable twice; evaluated once, whatever the number of directions.
        x: examples (n, *event).
        v: directions (m, n, *event), or (n, *event) for one of each; constants.
    """
    v = v.reshape(-1, *x.shape)
    gradient, curvatures = slope_and_curvatures(energy, x, v)
    return (_per_direction(v, gradient).square() / 2 - curvatures).mean(0)


def variance_reduced_score_matching(energy: Energy, x: Tensor, v: Tensor) -> Tensor:
    """½ ‖∇E‖² - vᵀ∇²E v for each example, averaged over its directions, shape (n,), in nats per squared unit of x.

    The first term of `sliced_score_matching` is replaced by its expectation, for directions with E[vvᵀ] = I (Song et al. 2019, eq. 8): what
    is left to chance is Hutchinson's estimate of the Laplacian alone.

    Args:
        energy: E, differentiable twice; evaluated once, whatever the number of directions.
        x: examples (n, *event).
        v: directions (m, n, *event), or (n, *event) for one of each; constants.
    """
    gradient, curvatures = slope_and_curvatures(energy, x, v.reshape(-1, *x.shape))
    return gradient.flatten(1).square().sum(1) / 2 - curvatures.mean(0)


def finite_difference_score_matching(energy: Energy, x: Tensor, v: Tensor, step: float) -> Tensor:
    """`sliced_score_matching` by differences of three energies, shape (n,): nothing is differentiated in x.

    With E± = E(x ± εv) it is [(E₊ - E₋)²/8 - (E₊ + E₋ - 2E)] / ε², which is off by O(ε²) (after Pang et al. 2020). In single precision the
    second difference loses its digits where ε is too small.

    Args:
        energy: E; evaluated once, at all the points.
        x: examples (n, *event).
        v: directions (m, n, *event), or (n, *event) for one of each; constants.
        step: ε; points are ε‖v‖ away from x.
    """
    v = v.reshape(-1, *x.shape)
    ahead, behind = ((x + sign * step * v).flatten(0, 1) for sign in (1, -1))
    values = energy(torch.cat([x, ahead, behind]))
    here, (ahead, behind) = values[: len(x)], values[len(x) :].view(2, len(v), len(x))
    losses: Tensor = ((ahead - behind).square() / 8 - (ahead + behind - 2 * here)).mean(0) / step**2
    return losses


class SlicedScoreMatchingConfig(MethodConfig):
    """Settings of `SlicedScoreMatching`."""

    estimator: Literal["variance_reduced", "plain", "finite_difference"] = Field(
        "variance_reduced",
        description="variance_reduced: ½‖∇E‖² in place of ½(vᵀ∇E)²; plain: the latter; finite_difference: plain, from three energies",
    )
    directions: Directions = Field("rademacher", description="law of the directions v, whose covariance is I either way")
    projections: int = Field(1, ge=1, description="directions for each example of an update")
    step: float = Field(0.02, gt=0, description="of finite differences, ε in model space: points are ε‖v‖ away")


class SlicedScoreMatching(EnergyMethod):
    """Score matching along random directions: the Laplacian of the energy by Hutchinson's estimate, at a cost that no dimension raises.

    Consistent as `score_matching` is, unlike denoising; and as blind to the weights of modes that hardly overlap (Song et al. 2019; Song &
    Kingma 2021, §4.2).
    """

    name = "sliced_score_matching"
    revision = 1
    title = "Sliced score matching"
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
    supports = frozenset({"space"})  # on a box, what integration by parts leaves at the walls does not vanish
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 256}, "images": {"batch_size": 128, "data_noise": 0.3}}

    @property
    def gradient_evaluations_per_step(self) -> int:
        """∇E, its derivative along every direction, then the gradient in the weights; or this last at the three points alone."""
        projections = self.config.projections
        each = 1 + 2 * projections if self.config.estimator == "finite_difference" else 1 + projections + 1
        return self.config.batch_size * each

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        config, energy = self.config, Watched(self.live)
        v = directions(batch, config.projections, config.directions, generator)
        if config.estimator == "finite_difference":
            losses = finite_difference_score_matching(energy, batch, v, config.step)
        elif config.estimator == "plain":
            losses = sliced_score_matching(energy, batch, v)
        else:
            losses = variance_reduced_score_matching(energy, batch, v)
        return self.update(losses.mean(), energy.seen, energy.x)
