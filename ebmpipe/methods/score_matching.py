"""Score matching, implicit and explicit."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import registry
from ebmpipe.config import MethodConfig
from ebmpipe.data.base import Density
from ebmpipe.derivatives import slope, slope_and_laplacian
from ebmpipe.energies import Energy, Watched
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Setup
from ebmpipe.nets.base import check_smooth
from ebmpipe.spec import DataSpec


def explicit_score_matching(energy: Energy, x: Tensor, data_score: Tensor) -> Tensor:
    """½ ‖∇E(x) + ∇log p_data(x)‖² for each example, shape (n,).

    The model's score is -∇E, so that its expectation is the Fisher divergence D_F = ½ E‖difference of scores‖² between data and model,
    which is zero if they agree (Hyvärinen 2005, eq. 2).

    Args:
        energy: E, differentiable in x and then in the weights.
        x: examples (n, *event).
        data_score: ∇log p_data at each, shape of ``x``.
    """
    return (slope(energy, x) + data_score).flatten(1).square().sum(1) / 2


def implicit_score_matching(energy: Energy, x: Tensor) -> Tensor:
    """½ ‖∇E(x)‖² - ΔE(x) for each example, shape (n,), with the exact Laplacian.

    Its expectation is D_F less ½ E‖∇log p_data‖², which no model changes, if the data's density is smooth and vanishes at infinity
    (Hyvärinen 2005, theorem 1, where ψ = -∇E: the divergence of ψ enters with plus, hence ΔE with minus).

    Args:
        energy: E, differentiable twice in x.
        x: examples (n, *event).
    """
    _, first, laplacian = slope_and_laplacian(energy, x)
    return first.flatten(1).square().sum(1) / 2 - laplacian


def density_of(spec: DataSpec) -> Density:
    """The density that the data were drawn from.

    Raises:
        ValueError: if it is unknown, or has edges and hence no score.
    """
    if spec.kind != "density":
        raise ValueError(f"`form: explicit` needs the score of the data, and that of {spec.name} is unknown: set `form: implicit`")
    density: Density = registry.load("data", spec.name)()
    if density.edges:
        raise ValueError(f"`form: explicit` needs the score of the data, and the density of {spec.name} has edges: set `form: implicit`")
    return density


class ScoreMatchingConfig(MethodConfig):
    """Settings of `ScoreMatching`."""

    form: Literal["implicit", "explicit"] = Field(
        "implicit",
        description="from examples alone, by the exact Laplacian of E; or by the data's score, where they are samples of a known density",
    )


class ScoreMatching(EnergyMethod):
    """Matches the model's score -∇E with that of the data: no sampling, no log Z, no noise; consistent.

    Blind to the weights of modes that are far apart, and unbounded below on finitely many examples, at which a flexible network can put
    as much curvature as it likes (Hyvärinen 2005; Song & Kingma 2021, §4). Where the data's density has edges the implicit form lacks a
    boundary term: smooth such data by ``data_noise``.
    """

    name = "score_matching"
    revision = 1
    title = "Score matching"
    references = (
        Reference("A. Hyvärinen", "Estimation of non-normalized statistical models by score matching", 2005),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = ScoreMatchingConfig
    config: ScoreMatchingConfig
    supports = frozenset({"space"})  # on a box the boundary terms do not vanish
    # On images an example costs D + 2 gradient evaluations: a small batch leaves enough updates.
    settings_by_kind: ClassVar[ByKind] = {"images": {"batch_size": 16, "data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.density: Density | None = None
        if self.config.form == "implicit":
            check_smooth(self, self.name)
        if self.config.form == "explicit":
            self.density = density_of(setup.spec)
            if self.config.data_noise:
                raise ValueError("`form: explicit` knows the score of the data themselves: set `data_noise: 0`, or `form: implicit`")

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Per example ∇ₓE, with the exact Laplacian one more for each of D coordinates, and the gradient of the loss in the weights."""
        dimension = 0 if self.density else self.spec.dimension
        return self.config.batch_size * (2 + dimension)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        energy = Watched(self.live)
        if self.density:
            data_score = torch.from_numpy(self.density.score(batch.double().cpu().numpy())).to(batch)
            losses = explicit_score_matching(energy, batch, data_score)
        else:
            losses = implicit_score_matching(energy, batch)
        return self.update(losses.mean(), energy.seen, energy.x)
