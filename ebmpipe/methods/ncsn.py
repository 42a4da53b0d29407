"""Noise conditional score matching."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.derivatives import slope
from ebmpipe.energies import Energy, Watched, frozen
from ebmpipe.methods.base import CHUNK, ByKind, Reference, Samples, Setup
from ebmpipe.methods.many_levels import ManyLevels, ManyLevelsConfig
from ebmpipe.samplers.annealed_langevin import AnnealedLangevin


def noise_conditional_score_matching(energy: Energy, x: Tensor, z: Tensor, sigma: Tensor) -> Tensor:
    """½ ‖σ ∇E(x + σz, σ) - z‖² for each example at its own level, shape (n,).

    Denoising score matching of the level σ, times σ², which makes it of order one at every level (Song & Ermon 2019, eq. 5 and 6). Its
    expectation is σ² times the Fisher divergence of exp(-E(·, σ)) from the data with noise of that level, plus a constant.

    Args:
        energy: E(·, σ) of each example, differentiable twice.
        x: clean examples (n, *event).
        z: standard normal noise, shape of ``x``.
        sigma: σ of each, (n,), in data units.
    """
    wide = sigma.view(-1, *[1] * (x.dim() - 1))
    return (wide * slope(energy, x + wide * z) - z).flatten(1).square().sum(1) / 2


class NCSNConfig(ManyLevelsConfig):
    """Settings of `NCSN`."""

    levels: int = Field(10, ge=2, description="levels, which fall by a constant factor")
    steps_per_level: int = Field(30, ge=1, description="Langevin steps of its own sampler at each level; the last goes on as long again")
    step: float = Field(0.4, gt=0, lt=2, description="step size of its own sampler, in units of the level at hand")


class NCSN(ManyLevels):
    """Matches the scores of the data at many levels of noise with one energy E(x, σ), of which the least level is what is evaluated.

    Scores of much noise know the weights of modes, which those of little do not (Song & Ermon 2019). Here they are gradients, -∇E(x, σ), so
    that there is an energy at every level (Li, Chen & Sommer 2019; Salimans & Ho 2021). Its own sampler goes from the widest level to the
    least by Langevin dynamics, with mass where the wide levels have it. The constants by which levels differ are not learned, and at the
    least level the energy itself is as blind to weights as that of `dsm`.
    """

    name = "ncsn"
    revision = 1
    title = "Noise conditional score matching"
    references = (
        Reference("Y. Song, S. Ermon", "Generative modeling by estimating gradients of the data distribution", 2019, "1907.05600"),
        Reference("Y. Song, S. Ermon", "Improved techniques for training score-based generative models", 2020, "2006.09011"),
        Reference(
            "Z. Li, Y. Chen, F. T. Sommer",
            "Learning energy-based models in high-dimensional spaces with multi-scale denoising score matching",
            2019,
            "1910.07762",
        ),
        Reference("T. Salimans, J. Ho", "Should EBMs model the energy or the score?", 2021),
    )
    Config = NCSNConfig
    config: NCSNConfig
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 512},
        "images": {"batch_size": 64, "sigma": 0.3, "widest": 3.0, "levels": 6, "steps_per_level": 60},
    }
    sigmas: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, setup.config.levels)  # type: ignore[attr-defined]
        self.register_buffer("sigmas", torch.tensor(self.widths), persistent=False)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """∇ₓE and then the gradient of the loss in the weights, once each per example."""
        return 2 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        sigma = self.sigmas[torch.randint(len(self.sigmas), (len(batch),), generator=generator, device=batch.device)]
        z = torch.randn(batch.shape, generator=generator, device=batch.device)
        energy = Watched(lambda x: self.live(x, sigma))
        losses = noise_conditional_score_matching(energy, batch, z, sigma)
        report = self.update(losses.mean(), energy.seen, energy.x, self.live.base(energy.x, sigma))  # type: ignore[operator]
        narrow = sigma == self.sigmas[-1]
        return report | ({"loss_of_least_level": losses.detach()[narrow].mean()} if bool(narrow.any()) else {})

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples by annealed Langevin dynamics from noise about as wide as the data at the widest level."""
        config = self.config
        settings = {
            "step_size": config.step * config.sigma,
            "width": self.widths[0] / config.sigma,
            "levels": config.levels,
            "steps_per_level": config.steps_per_level,
        }
        kernel, steps = AnnealedLangevin(**settings), (config.levels + 1) * config.steps_per_level  # type: ignore[arg-type]
        with frozen(self):
            starts = self.widest_samples(n, generator).split(CHUNK)
            parts = [samplers.run(kernel, self.energy_function(), part, steps, generator) for part in starts]
        return self.ended(
            torch.cat([part for part, _ in parts]),
            "annealed Langevin",
            sum(summary.gradient_evaluations for _, summary in parts),
            sampler_steps=steps,
            notes={"kernel": {"name": kernel.name, "settings": settings}},
        )
