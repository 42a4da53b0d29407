"""Maximum likelihood whose negative samples are carried along with the energy: what all variants of particle dynamics share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig
from ebmpipe.energies import frozen
from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.base import ByKind, Reference, Samples, Setup, build_kernel
from ebmpipe.methods.contrastive import ON_IMAGES, Contrastive, ContrastiveConfig, Negatives
from ebmpipe.optimisation import Diverged

PARTICLE_DYNAMICS = Reference("K. Neklyudov, P. Jaini, M. Welling", "Particle dynamics for learning EBMs", 2021, "2111.13772")


#: What settings mean whose defaults variants change.
STEPS = "steps of the kernel per update, under the new energy, after the field has carried the particles"
COEFFICIENT = "α, factor on the vector field; 0: the particles are chains of pcd"
LONGEST = (
    "root mean square of the distances that the field may move particles by in one update, in units of the data's standard deviation: "
    "a longer step is shortened to it, all particles alike; null: no limit"
)


class ParticleDynamicsConfig(ContrastiveConfig):
    """Settings of every variant of particle dynamics."""

    particles: int = Field(128, ge=2, description="number of particles; every update learns from all and moves all")
    steps: int = Field(10, ge=0, description=STEPS)
    coefficient: float = Field(1.0, ge=0, description=COEFFICIENT)
    longest: float | None = Field(None, gt=0, description=LONGEST)
    begin: int = Field(0, ge=0, description="steps of the kernel that particles take from the base before the first update")
    refresh: float = Field(0.0, ge=0, le=1, description="share of the particles that begin anew in each update, from the base")
    refresh_steps: int = Field(
        10, ge=0, description="steps that these take under the energy before the update, which then carries them as it does all"
    )
    refresh_kernel: KernelConfig | None = Field(None, description="the kernel of these; null: the same")


@dataclass(frozen=True)
class Particles(Negatives):
    """Negative samples that are all the particles there are.

    Attributes:
        fresh: which of them begin anew, indices (m,).
        begun: where those are, (m, *event).
    """

    fresh: Tensor | None = None
    begun: Tensor | None = None


class ParticleDynamics(Contrastive):
    """Maximum likelihood with negative samples that a vector field moves as learning moves the energy (Neklyudov, Jaini & Welling 2021).

    While the energy changes by Ė per unit of time its law p changes by ∂p = -p (Ė - E_p Ė). Particles follow exactly along v = ∇φ with
    div(p ∇φ) = p (Ė - E_p Ė); the paper's field v = -∇Ė is that for directions in which -Δφ + ∇E·∇φ = φ, and overshoots or falls short by
    that eigenvalue in others. Hence one update is: the weights, by the contrast of data and particles; the particles, by the field of what
    the optimiser did to the energy, times α; the particles again, by a few steps of Langevin dynamics under the new energy.

    Without those steps the particles come to the data whatever the energy, which does not: an energy is not to be judged by its particles.

    Reports ``field``, the mean distance that the field has moved the particles, in data units, and where steps are limited ``allowed``, the
    share of the field's step that was left.
    """

    references: ClassVar[tuple[Reference, ...]] = (PARTICLE_DYNAMICS,)
    Config = ParticleDynamicsConfig
    config: ParticleDynamicsConfig
    settings_by_kind: ClassVar[ByKind] = {
        "images": {**ON_IMAGES, "particles": 100, "steps": 20},
    }

    particles: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        x = self.base.sample(self.config.particles, setup.generator)
        if self.config.begin:
            x = self.run_under(self.kernel, x, self.config.begin, setup.generator)[0]
        self.register_buffer("particles", x)

    @abstractmethod
    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        """How far the field carries each particle at α = 1, shape of ``x``.

        Args:
            change: what the update did to the energy.
            x: the particles, (n, *event).
            batch: the examples of the update, (m, *event).
        """

    @property
    def field_evaluations(self) -> int:
        """Gradient evaluations of one `displacement` of all particles."""
        return 2 * self.config.particles

    @cached_property
    def refresh_kernel(self) -> samplers.Kernel:
        """What moves particles that begin anew."""
        config = self.config.refresh_kernel
        return self.kernel if config is None else build_kernel(config, None, self.spec.kind)

    @cached_property
    def change(self) -> EnergyChange:
        """Of the live energy; made at the first update, on the device where that is."""
        return EnergyChange(self.live)

    @property
    def refreshed(self) -> int:
        """How many particles begin anew in an update."""
        return round(self.config.refresh * self.config.particles)

    @property
    def gradient_evaluations_at_start(self) -> int:
        return self.config.particles * self.kernel.cost(self.config.begin) if self.config.begin else 0

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Examples and particles once, the steps of the kernel, those of particles that begin anew, and the field."""
        config = self.config
        moves = self.kernel.cost(config.steps) if config.steps else 0
        anew = self.refreshed * self.refresh_kernel.cost(config.refresh_steps) if config.refresh_steps else 0
        return config.batch_size + config.particles * (1 + moves) + anew + self.field_evaluations * bool(config.coefficient)

    @property
    def random_cost(self) -> bool:
        return self.kernel.random_cost or (self.refreshed > 0 and self.refresh_kernel.random_cost)

    def run_under(self, kernel: samplers.Kernel, x: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, samplers.Summary]:
        """Chains from ``x`` after ``steps`` steps under the energy as it now is; as they were, at no cost, after none."""
        with frozen(self.live):
            if not steps:
                return x.clone(), samplers.Summary(0, 0, 1.0, kernel.temperature, 0.0, 0.0, samplers.State(x))
            return samplers.run(kernel, self.live, x, steps, generator)

    def share_of(self, step: Tensor) -> Tensor:
        """How much of ``step`` (n, *event) ``longest`` allows, at most 1, the same for all particles: what is left is a gradient field."""
        assert self.config.longest is not None
        length = step.flatten(1).square().sum(1).mean().sqrt()
        return (self.config.longest * self.spec.std / length.clamp(min=torch.finfo(step.dtype).tiny)).clamp(max=1.0)

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Particles:
        """The particles after their Langevin steps: those of the last update's end, which no random number parts from this one's start."""
        self.change.remember()
        x, summary = self.run_under(self.kernel, self.particles, self.config.steps, generator)
        cost, fresh, begun = summary.gradient_evaluations + self.field_evaluations * bool(self.config.coefficient), None, None
        if self.refreshed:
            fresh = torch.randperm(len(x), generator=generator, device=x.device)[: self.refreshed]
            start = self.base.sample(self.refreshed, generator)
            begun, beside = self.run_under(self.refresh_kernel, start, self.config.refresh_steps, generator)
            cost += beside.gradient_evaluations
        return Particles(x, summary, cost=cost, fresh=fresh, begun=begun)

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        assert isinstance(negatives, Particles)
        x = negatives.x.clone()
        if negatives.fresh is not None and negatives.begun is not None:
            x[negatives.fresh] = negatives.begun
        report: dict[str, Any] = {}
        if self.config.coefficient:
            self.change.settle()
            step = self.config.coefficient * self.displacement(self.change, x, batch)
            if self.config.longest is not None:
                report["allowed"] = self.share_of(step)
                step = step * report["allowed"]
            moved = torch.linalg.vector_norm(step.flatten(1), dim=1).mean()
            if not torch.isfinite(moved):
                raise Diverged("the field that carries the particles is not finite")
            report["field"] = moved
            x = x + step
            if self.base.support:
                x = self.base.support.fold(x)
        self.particles.copy_(x)
        return report

    def chains(self) -> Samples:
        return Samples(
            self.particles,
            "particles of training",
            sampler_steps=self.config.begin + int(self.learner.updates) * self.config.steps,
            temperature=self.temperature,
            notes={"kernel": self.config.kernel.model_dump(mode="json")},
        )
