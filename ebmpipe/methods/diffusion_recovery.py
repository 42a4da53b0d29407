"""Diffusion recovery likelihood."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig
from ebmpipe.energies import Energy, frozen, gradient, value_and_gradient
from ebmpipe.methods.base import CHUNK, ByKind, Reference, Samples, Setup, build_kernel
from ebmpipe.methods.contrastive import told_of_contrast
from ebmpipe.methods.many_levels import ManyLevels, ManyLevelsConfig


class Recovery:
    """E(x̃ - δu) + ½‖u‖², the energy of where a noisier point x̃ = x + δu came from, as one of the noise u: log p(x | x̃) but for constants.

    In units of the noise that was added, its own part has unit variance at every level, so that one step size suits them all and chains of
    several levels move together.

    Args:
        energy: E, the energy of the less noisy law of each point.
        noisier: x̃, (n, *event).
        gap: δ of each, (n,), in units of x.
    """

    def __init__(self, energy: Energy, noisier: Tensor, gap: Tensor) -> None:
        self.energy, self.noisier = energy, noisier
        self.gap = gap.view(-1, *[1] * (noisier.dim() - 1))

    def place(self, u: Tensor) -> Tensor:
        """x̃ - δu, shape of ``u`` (n, *event)."""
        return self.noisier - self.gap * u

    def __call__(self, u: Tensor) -> Tensor:
        """In nats, shape (n,)."""
        return self.energy(self.place(u)) + u.flatten(1).square().sum(1) / 2

    def grad(self, u: Tensor) -> Tensor:
        """Its gradient in u, shape of ``u``."""
        return u - self.gap * gradient(self.energy, self.place(u))

    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.energy, self.place(u))
        return value + u.flatten(1).square().sum(1) / 2, u - self.gap * slope


class DiffusionRecoveryConfig(ManyLevelsConfig):
    """Settings of `DiffusionRecovery`."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    levels: int = Field(
        5, ge=1, description="energies, whose levels fall by a constant factor to sigma; the widest recovers from the level above them"
    )
    steps: int = Field(10, ge=1, description="steps of the kernel per update, and at each level of its own sampler")
    kernel: KernelConfig = Field(
        KernelConfig(name="mala", settings={"step_size": 0.7}),
        description="what moves the chains; step sizes are in units of the noise that is to be taken off",
    )


class DiffusionRecovery(ManyLevels):
    """Maximum likelihood of where data with noise came from, at many levels of it, with negative samples by short chains that start there.

    Noise of variance σ² is added to an example, x, and then more, δu with u ~ N(0, I): x̃ = x + δu. Of the law exp(-E(·, σ)) of x, Bayes'
    rule makes p(x | x̃) ∝ exp(-E(x, σ) - ‖x̃ - x‖²/(2δ²)), and the mean of -log p(x | x̃) has the gradient of E(x, σ) in the weights less
    its mean over p(x | x̃): the data's marginal at every level is an optimum. What is left of the law of x is within δ of x̃, and where δ is
    small has one mode: a few steps of a chain from x̃ sample it, which they do not of exp(-E) itself (Gao et al. 2021).

    Levels here add noise and do not shrink x (variance exploding); the published ones shrink it too, which is a change of units of each.
    The least level is σ and no less, and what is evaluated is the energy of data with that noise. The conditionals of the lower levels know
    the weights of modes only as far as δ bridges them.

    Reports ``d_t`` and ``r_t`` as `Contrastive` does, r_t in units of the noise that is to be taken off.
    """

    name = "diffusion_recovery"
    revision = 1
    title = "Diffusion recovery"
    references = (
        Reference(
            "R. Gao, Y. Song, B. Poole, Y. N. Wu, D. P. Kingma",
            "Learning energy-based models by diffusion recovery likelihood",
            2021,
            "2012.08125",
        ),
    )
    Config = DiffusionRecoveryConfig
    config: DiffusionRecoveryConfig
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"levels": 3},
        # In many dimensions MALA accepts shorter steps alone; where it accepts none, negatives stay where they began and E has no bound.
        "images": {
            "batch_size": 32,
            "sigma": 0.3,
            "widest": 3.0,
            "steps": 20,
            "kernel": {"name": "mala", "settings": {"step_size": 0.4}},
        },
    }
    sigmas: Tensor
    gaps: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, setup.config.levels + 1)  # type: ignore[attr-defined]
        self.kernel = build_kernel(self.config.kernel, self.config.steps, self.spec.kind)
        if not self.kernel.one_point_per_chain:
            # Else x̃ and δ of one chain would be taken for another's, or fit none.
            raise ValueError(
                f"{self.name} gives each chain an energy of its own, so its kernel has to evaluate all chains together, one point each; "
                f"{self.kernel.name} does not: take mala, ula or hmc"
            )
        if self.kernel.temperature != 1:
            raise ValueError(
                f"{self.name} samples at temperature 1, at which the noise between levels is what it is; that of its kernel is "
                f"{self.kernel.temperature:g}"
            )
        widths = torch.tensor(self.widths, dtype=torch.float64)
        dtype = torch.get_default_dtype()
        self.register_buffer("sigmas", widths[1:].to(dtype), persistent=False)
        self.register_buffer("gaps", (widths[:-1].square() - widths[1:].square()).sqrt().to(dtype), persistent=False)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every step of every chain, then positives and negatives once."""
        return self.config.batch_size * (self.kernel.cost(self.config.steps) + 2)

    @property
    def random_cost(self) -> bool:
        return self.kernel.random_cost

    def recovered(self, energies: Any, noisier: Tensor, level: Tensor, generator: torch.Generator) -> tuple[Tensor, samplers.Summary]:
        """Draws of p(x | x̃), (n, *event), by ``steps`` steps of the kernel from x̃.

        Args:
            energies: E(x, σ), frozen.
            noisier: x̃, (n, *event).
            level: at which of ``sigmas`` each x is to be, (n,).
            generator: the source of all randomness.
        """
        recovery = Recovery(energies.at(self.sigmas[level]), noisier, self.gaps[level])
        u, summary = samplers.run(self.kernel, recovery, torch.zeros_like(noisier), self.config.steps, generator)
        return recovery.place(u), summary

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        level = torch.randint(len(self.sigmas), (len(batch),), generator=generator, device=batch.device)
        sigma, wide = self.sigmas[level], (-1, *[1] * (batch.dim() - 1))
        z, u = torch.randn(2, *batch.shape, generator=generator, device=batch.device)
        clean = batch + sigma.view(wide) * z
        with frozen(self.live):
            negative, summary = self.recovered(self.live, clean + self.gaps[level].view(wide) * u, level, generator)
        x, sigma = torch.cat([clean, negative]), sigma.repeat(2)
        energies = self.live(x, sigma)
        on_data, on_negatives = (part.mean() for part in energies.chunk(2))
        report = self.update(on_data - on_negatives, energies, x, self.live.base(x, sigma))  # type: ignore[operator]
        report |= told_of_contrast(on_data, on_negatives, self.kernel, summary)
        if self.random_cost:
            report["gradient_evaluations"] = summary.gradient_evaluations + len(x)
        return report

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples by recovery from level to level, from a Gaussian about as wide as the data at the widest."""
        found, evaluations, acceptance = [], 0, 0.0
        with frozen(self):
            for x in self.widest_samples(n, generator).split(CHUNK):
                for index in range(len(self.sigmas)):
                    level = torch.full((len(x),), index, device=x.device)
                    x, summary = self.recovered(self.learner.average, x, level, generator)
                    evaluations += summary.gradient_evaluations
                    acceptance += summary.acceptance * len(x) / n / len(self.sigmas)
                found.append(x)
        return self.ended(
            torch.cat(found),
            "recovery",
            evaluations,
            acceptance=acceptance if self.kernel.adjusted else None,
            sampler_steps=self.config.steps * len(self.sigmas),
            temperature=self.kernel.temperature,
            notes={"kernel": self.config.kernel.model_dump(mode="json")},
        )
