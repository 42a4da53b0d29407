"""Maximum likelihood with negative samples from a Markov chain: what all its variants share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, MethodConfig
from ebmpipe.energies import frozen
from ebmpipe.methods.base import EnergyMethod, Samples, Setup, build_kernel
from ebmpipe.methods.persistence import Drawn, Persistence
from ebmpipe.samplers import Summary

#: What chains on images need: data smoothed by noise, and Langevin steps of a size to match. See Energies in docs/architecture.md.
ON_IMAGES: Mapping[str, Any] = {"batch_size": 100, "data_noise": 0.3, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}}


class ContrastiveConfig(MethodConfig):
    """Settings of every method that runs a Markov chain in each update."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    steps: int = Field(10, ge=1, description="steps of the kernel per update")
    kernel: KernelConfig = Field(KernelConfig(name="mala", settings={"step_size": 0.25}), description="the kernel that moves the chains")


@dataclass(frozen=True)
class Negatives:
    """Negative samples of one update.

    Attributes:
        x: positions, (n, *event).
        summary: what the run of the kernel that made them reports.
        drawn: the persistent chains that they were before, if they are any.
        cost: input gradients that they took, if those of ``summary`` are not all.
        grids: negative samples of coarser grids, if there are any.
        through: ``x`` as a function of the weights, for losses that look at how the chains depend on them.
        weights: what each counts in the model's expectation, (n,), summing to 1; None if all count the same.
    """

    x: Tensor
    summary: Summary
    drawn: Drawn | None = None
    cost: int | None = None
    grids: list[Tensor] | None = None
    through: Tensor | None = None
    weights: Tensor | None = None


class Contrastive(EnergyMethod):
    """Follows the gradient of the log-likelihood, -∂E(x) + E_p[∂E], with the model's expectation taken over a chain's last positions.

    Reports ``d_t``, the mean energy of data less that of negatives, which swings about zero in a stable training, and ``r_t``, the
    mean norm of ∇E along the chains, which tells whether noise or drift moves them (Nijkamp et al. 2020). The loss is d_t plus
    penalties: it is no measure of progress.
    """

    Config = ContrastiveConfig
    config: ContrastiveConfig

    @cached_property
    def kernel(self) -> samplers.Kernel:
        """What moves the chains. Its temperature decides how the energy is made."""
        return build_kernel(self.config.kernel, self.config.steps)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every step of every chain, then positives and negatives once."""
        return self.config.batch_size * (self.kernel.cost(self.config.steps) + 2)

    @property
    def random_cost(self) -> bool:
        return self.kernel.random_cost

    @property
    def temperature(self) -> float:
        return self.kernel.temperature

    @abstractmethod
    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        """The negative samples of an update, which changes nothing."""

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        """Called after the update, which refuses what is not finite: here chains are written back. Returns diagnostics."""
        return {}

    def moved(self, start: Tensor, generator: torch.Generator) -> tuple[Tensor, Summary]:
        """Chains from ``start`` (n, *event) after ``steps`` steps under the energy as it now is."""
        with frozen(self.live):
            return samplers.run(self.kernel, self.live, start, self.config.steps, generator)

    def short_chains(self, start: Tensor, generator: torch.Generator, cost: int = 0, sampler: str = "short run") -> Samples:
        """Samples by the chains of training themselves, from ``start`` (n, *event), under the averaged weights.

        Args:
            start: where they start.
            generator: the source of all randomness.
            cost: input gradients that ``start`` took.
            sampler: what they are called.
        """
        with frozen(self):
            x, summary = samplers.run(self.kernel, self.learner.average, start, self.config.steps, generator)
        return Samples(
            self.denoised(x),
            sampler,
            before=x if self.denoises else None,
            acceptance=summary.acceptance if self.kernel.adjusted else None,
            sampler_steps=self.config.steps,
            gradient_evaluations=cost + summary.gradient_evaluations + len(x) * int(self.denoises),
            temperature=self.temperature,
            notes={"kernel": self.config.kernel.model_dump(mode="json")},
        )

    def loss_beside(self, batch: Tensor, negatives: Negatives, generator: torch.Generator) -> Tensor | None:
        """What a variant adds to the contrast of energies, in nats, if anything."""
        return None

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        negatives = self.negatives(batch, generator)
        beside = self.loss_beside(batch, negatives, generator)
        # One forward pass for both halves: at this size the calls cost more than the arithmetic.
        x = torch.cat([batch, negatives.x])
        energies = self.live(x)
        data, negative = energies.split([len(batch), len(negatives.x)])
        on_data = data.mean()
        on_negatives = negative.mean() if negatives.weights is None else (negatives.weights * negative).sum()
        contrast = on_data - on_negatives
        summary = negatives.summary
        report = self.update(contrast if beside is None else contrast + beside, energies, x)
        report |= {"d_t": contrast.detach(), "r_t": summary.gradient_norm}
        report |= {"energy_data": on_data.detach(), "energy_negative": on_negatives.detach()}
        if self.kernel.adjusted:
            report["acceptance"] = summary.acceptance
        if summary.swaps is not None:
            report["swaps"] = summary.swaps
        if summary.clipped:
            report["clipped"] = summary.clipped
        if self.random_cost:
            taken = summary.gradient_evaluations if negatives.cost is None else negatives.cost
            report["gradient_evaluations"] = taken + len(x)
        return report | self.keep(batch, negatives)


class PersistentConfig(ContrastiveConfig):
    """Settings of methods whose chains outlive the update."""

    chains: int = Field(1024, ge=1, description="number of persistent chains, at least the batch size; more of them are a replay buffer")
    restart: float = Field(0.0, ge=0, le=1, description="probability that a drawn chain starts anew")


class Persistent(Contrastive):
    """A contrastive method whose chains go on from update to update, see `Persistence`; they start, and restart, from the base."""

    Config = PersistentConfig
    config: PersistentConfig

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.config.chains < self.config.batch_size:
            raise ValueError(
                f"{self.name} needs at least as many chains as the batch has examples: {self.config.chains} < {self.config.batch_size}"
            )
        self.persistence = Persistence(self.base.sample(self.config.chains, setup.generator))

    def beginnings(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Where chains start anew, one for each example of ``batch``."""
        return self.base.sample(len(batch), generator)

    def drawn(self, batch: Tensor, generator: torch.Generator) -> Drawn:
        """The chains of an update, some of them begun anew."""
        drawn = self.persistence.draw(len(batch), generator)
        if self.config.restart:
            anew = torch.rand(len(batch), generator=generator, device=batch.device) < self.config.restart
            drawn = self.persistence.begun_anew(drawn, anew, self.beginnings(batch, generator))
        return drawn

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        drawn = self.drawn(batch, generator)
        return Negatives(*self.moved(drawn.x, generator), drawn)

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        assert negatives.drawn is not None
        self.persistence.put_back(negatives.drawn, negatives.x, self.config.steps)
        return dict(self.persistence.diagnostics())

    def chains(self) -> Samples:
        steps = self.persistence.ages.double().mean()
        kernel = self.config.kernel.model_dump(mode="json")
        return Samples(
            self.persistence.positions,
            "chains of training",
            sampler_steps=round(float(steps)),
            temperature=self.temperature,
            notes={"kernel": kernel},
        )
