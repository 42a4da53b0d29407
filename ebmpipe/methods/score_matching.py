"""Score matching, explicit and implicit."""

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


def explicit_score_matching(energy: Energy, x: Tensor, data_score: Tensor) -> Tensor:
    """½ ‖∇ log q(x) + ∇E(x)‖² for each example, shape (n,), in nats per squared unit of x.

    Its mean over x ~ q is the Fisher divergence of the model from q, with the factor ½ (Hyvärinen 2005, eq. 2).

    Args:
        energy: E; the model's score is -∇E.
        x: examples (n, *event).
        data_score: ∇ log q at each of them, shape of ``x``.
    """
    return (data_score + slope(energy, x)).flatten(1).square().sum(1) / 2


def implicit_score_matching(energy: Energy, x: Tensor) -> Tensor:
    """½ ‖∇E(x)‖² - ΔE(x) for each example, shape (n,), in nats per squared unit of x.

    Its mean over the data is that of `explicit_score_matching` less ½ E‖∇ log q‖², which no weight changes, if q ∇E vanishes at infinity
    (Hyvärinen 2005, theorem 1). In terms of the model's score s = -∇E it is ½ ‖s‖² + tr ∇s: the Laplacian of E comes with a minus.

    Args:
        energy: E, differentiable twice.
        x: examples (n, *event).
    """
    _, gradient, laplacian = slope_and_laplacian(energy, x)
    return gradient.flatten(1).square().sum(1) / 2 - laplacian


class ScoreMatchingConfig(MethodConfig):
    """Settings of `ScoreMatching`."""

    form: Literal["implicit", "explicit"] = Field(
        "implicit",
        description="implicit: from examples alone, by the Laplacian of E; explicit: against the data's score, of densities that have one",
    )


class ScoreMatching(EnergyMethod):
    """Matches the score of the data with the exact Laplacian of the energy: no noise, no sampling, no log Z.

    Consistent, and blind to the weights of modes that hardly overlap (Hyvärinen 2005; Wenliang & Kanagawa 2020; Song & Kingma 2021, §4).
    On a finite set a flexible energy can make the loss as negative as it likes by curving sharply at every example.
    """

    name = "score_matching"
    revision = 1
    title = "Score matching"
    references = (
        Reference("A. Hyvärinen", "Estimation of non-normalized statistical models by score matching", 2005),
        Reference("L. K. Wenliang, H. Kanagawa", "Blindness of score-based methods to isolated components", 2020, "2008.10087"),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = ScoreMatchingConfig
    config: ScoreMatchingConfig
    supports = frozenset({"space"})  # on a box, what integration by parts leaves at the walls does not vanish
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 256}, "images": {"batch_size": 32, "data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.config.form == "explicit":
            if self.config.data_noise:
                raise ValueError(f"{self.name} knows the score of the data, not that of data with noise: explicit needs data_noise 0")
            self.density = self._density()

    def _density(self) -> Density:
        """The density that the data are samples of."""
        if self.spec.kind != "density":
            raise ValueError(f"{self.name}: the score of {self.spec.name} is unknown: set `form: implicit`")
        density: Density = registry.load("data", self.spec.name)()
        if density.edges:
            raise ValueError(f"{self.name}: {self.spec.name} has edges and therefore no score: set `form: implicit`")
        return density

    @property
    def gradient_evaluations_per_step(self) -> int:
        """∇E, which is differentiated along every coordinate unless the data's score is known, then the gradient in the weights."""
        curvatures = self.spec.dimension if self.config.form == "implicit" else 0
        return self.config.batch_size * (1 + curvatures + 1)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        energy = Watched(self.live)
        if self.config.form == "implicit":
            losses = implicit_score_matching(energy, batch)
        else:
            score = torch.from_numpy(self.density.score(batch.double().cpu().numpy())).to(batch)
            losses = explicit_score_matching(energy, batch, score)
        return self.update(losses.mean(), energy.seen, energy.x)
