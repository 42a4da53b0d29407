"""Maximum likelihood with walkers that Jarzynski's equality keeps weighted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import KernelConfig
from ebmpipe.energies import frozen
from ebmpipe.methods.base import ByKind, Reference, Samples, Setup
from ebmpipe.methods.contrastive import Contrastive, ContrastiveConfig, Negatives
from ebmpipe.methods.walkers import Stretch, Walkers, exactly, langevin, systematic
from ebmpipe.samplers import Kernel, Summary
from ebmpipe.samplers.ula import ULA


class JarzynskiConfig(ContrastiveConfig):
    """Settings of `Jarzynski`."""

    batch_size: int = Field(256, ge=1, description="examples per update")
    steps: int = Field(2, ge=1, description="steps of the kernel per update")
    kernel: KernelConfig = Field(
        KernelConfig(name="mala", settings={"step_size": 0.25}),
        description="what moves the walkers: ula, the paper's, whose error the weights take off, or a kernel that rejects and makes none",
    )
    walkers: int = Field(256, ge=2, description="number of weighted walkers; every update moves all and averages over all")
    witnesses: int = Field(
        256,
        ge=0,
        description="number of walkers that follow the averaged energy and estimate its log Z without a say in the training; 0: none",
    )
    resample_below: float = Field(
        0.5, ge=0, le=1, description="walkers are resampled where the effective fraction of them is below this; 1: at every update"
    )


@dataclass(frozen=True)
class Weighted(Negatives):
    """Negative samples that stand for a `Stretch` of walkers: ``x`` and ``weights`` are theirs.

    Attributes:
        walked: the walkers.
        witnessed: the witnesses, if there are any.
        fraction: the effective fraction of the walkers, before they were resampled.
    """

    walked: Stretch | None = None
    witnessed: Stretch | None = None
    fraction: float = math.nan


class Jarzynski(Contrastive):
    """Maximum likelihood whose negative samples stay exact while the energy changes, because they are weighted.

    Walkers start from the base. At each change of the weights θ_k → θ_{k+1} they move, and their log-weights A take up the work
    (Jarzynski 1997; Carbone et al. 2023, Algorithm 1), such that E_p[∂E] = Σ wᵢ ∂E(Xᵢ) with w ∝ e^A, up to Monte Carlo error, at every
    update, however slowly the kernel mixes and, for ULA, however large its step; and Z_k = mean e^A. Where weights degenerate walkers
    are resampled, and log mean e^A is banked. A kernel that leaves p exactly invariant needs only the work of the change itself.

    All that holds for energies that do not depend on the walkers. Here each update lifts the energy where they are, and their log Z
    falls behind by a number of order 1/N per update. Witnesses are walkers without a say, for which the path of energies is given;
    they follow the averaged energy, whose path is also the smoother one.

    Reports ``ess``, the effective fraction of the walkers, their ``resamplings`` so far, ``log_partition_live``, the running log Z of
    the walkers for the energy that the update began with, and ``log_partition``, that of the witnesses for the averaged energy.
    """

    name = "jarzynski"
    revision = 1
    title = "Jarzynski"
    references = (
        Reference(
            "D. Carbone, M. Hua, S. Coste, E. Vanden-Eijnden",
            "Efficient training of energy-based models using Jarzynski equality",
            2023,
            "2305.19414",
        ),
        Reference("C. Jarzynski", "Nonequilibrium equality for free energy differences", 1997, "cond-mat/9610209"),
        Reference("R. M. Neal", "Annealed importance sampling", 2001, "physics/9803008"),
    )
    Config = JarzynskiConfig
    config: JarzynskiConfig
    settings_by_kind: ClassVar[ByKind] = {
        # Chains of images mix slowly: with 4 steps of 0.05 per update the energy leaves 400 walkers behind, and ever fewer lineages last.
        # Walkers and witnesses are both paid for, so that 20 steps leave too few updates.
        "images": {
            "batch_size": 100,
            "walkers": 100,
            "witnesses": 100,
            "steps": 10,
            "data_noise": 0.3,
            "kernel": {"name": "ula", "settings": {"step_size": 0.2}},
            "optimiser": {"learning_rate": 1e-3},
        }
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.corrected = weightable(self.kernel, self.base.sample(2, torch.Generator().manual_seed(0)), self.base)
        self.walkers = self.begun(self.config.walkers, setup.generator)
        self.witnesses = self.begun(self.config.witnesses, setup.generator) if self.config.witnesses else None

    def begun(self, count: int, generator: torch.Generator) -> Walkers:
        """Walkers at the base, where log Z is 0."""
        return Walkers(self.base.sample(count, generator), self.base, self.config.resample_below, gradients=self.corrected)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every step of walkers and witnesses, then examples and walkers once. ULA begins with the values of the last update's end."""
        moves = (self.config.walkers + self.config.witnesses) * self.kernel.cost(self.config.steps)
        return self.config.batch_size + moves + self.config.walkers

    @torch.no_grad()
    def followed(self, walkers: Walkers, energy: nn.Module, generator: torch.Generator) -> tuple[Stretch, float, Summary]:
        """Walkers that have followed the energy to where it is now, the effective fraction of them, and what their moves report."""
        before, steps = walkers.stretch.population, self.config.steps
        with frozen(energy):
            if self.corrected:
                moved, summary = langevin(energy, before, self.kernel.step_size, steps, generator)
            else:
                moved, summary = exactly(self.kernel, energy, before, steps, generator)
        return *walkers.after(moved, generator), summary

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Weighted:
        walked, fraction, summary = self.followed(self.walkers, self.live, generator)
        witnessed, cost = None, summary.gradient_evaluations
        if self.witnesses is not None:
            witnessed, _, beside = self.followed(self.witnesses, self.learner.average, generator)
            cost += beside.gradient_evaluations
        x, weights = walked.population.x, walked.population.weights()
        return Weighted(x, summary, cost=cost, weights=weights.to(x.dtype), walked=walked, witnessed=witnessed, fraction=fraction)

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        assert isinstance(negatives, Weighted) and negatives.walked is not None
        self.walkers.put_back(negatives.walked)
        report = {
            "ess": negatives.fraction,
            "resamplings": self.walkers.resamplings,
            "log_partition_live": self.walkers.stretch.log_partition()[0],
        }
        if self.witnesses is not None and negatives.witnessed is not None:
            self.witnesses.put_back(negatives.witnessed)
            report["log_partition"] = self.witnesses.stretch.log_partition()[0]
        return report

    @torch.no_grad()
    def log_partition(self) -> tuple[float, float] | None:
        if self.witnesses is None:
            return None
        log_z, variance = self.witnesses.reweighted(self.learner.average).log_partition()
        return float(log_z), math.sqrt(float(variance))

    @torch.no_grad()
    def chains(self) -> Samples:
        """The walkers, each as often as its weight under the averaged energy says."""
        population = self.walkers.reweighted(self.learner.average).population
        slots = systematic(population.weights(), torch.tensor(0.5, dtype=torch.float64, device=population.x.device))
        return Samples(
            population.x[slots],
            "walkers of training",
            sampler_steps=int(self.learner.updates) * self.config.steps,
            temperature=self.temperature,
            notes={"kernel": self.config.kernel.model_dump(mode="json")},
        )


def weightable(kernel: Kernel, x: Tensor, law: Any) -> bool:
    """Whether weights must correct ``kernel`` for its error, as they can for ULA; False if it makes none.

    Raises:
        ValueError: if it makes an error that weights do not know, or carries a memory whose law depends on the energy.
    """
    if isinstance(kernel, ULA):
        if kernel.temperature != 1 or kernel.clip is not None:
            raise ValueError("jarzynski corrects ULA for its step size alone: leave out clip, and noise_scale unless it is the step size")
        return True
    if not kernel.adjusted or kernel.init(law, x).memory is not None:
        raise ValueError(
            f"jarzynski cannot weight the moves of {kernel.name}: it takes ula, or a kernel that leaves the density exactly invariant from "
            "any start, such as mala"
        )
    return False
