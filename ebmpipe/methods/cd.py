"""Contrastive divergence."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.energies import Energy, frozen, gradient
from ebmpipe.methods.base import ByKind, Reference, Samples, Setup
from ebmpipe.methods.contrastive import ON_IMAGES, Contrastive, ContrastiveConfig, Negatives
from ebmpipe.methods.multigrid import Multigrid
from ebmpipe.optimisation import within
from ebmpipe.samplers.reflection import reflected


def mean_field(energy: Energy, x: Tensor, steps: int, step_size: float, width: float, generator: torch.Generator) -> Tensor:
    """A sample of a factorised Gaussian N(m, width² I) relaxed from m = ``x`` (n, *event) towards the smallest KL divergence to exp(-E).

    The divergence's gradient in m is the mean of ∇E(m + width z) over z ~ N(0, I), of which each step takes one draw:
    m ← m - (ε²/2) ∇E(m + width z), ``steps`` times with ε = ``step_size`` (Welling & Hinton 2002, for continuous variables).
    Of an energy on a box it is the relaxation under the energy's mirror images, and the sample is folded into the box.
    """
    energy, box = reflected(energy)
    for _ in range(steps):
        z = torch.randn(x.shape, generator=generator, device=x.device)
        x = x - step_size**2 / 2 * gradient(energy, x + width * z)
    x = x + width * torch.randn(x.shape, generator=generator, device=x.device)
    return box.fold(x) if box else x


class CDConfig(ContrastiveConfig):
    """Settings of `CD`."""

    start: Literal["data", "mean_field", "multigrid"] = Field(
        "data", description="where chains start: at the batch, at its mean-field relaxation, or at samples of coarser grids (images only)"
    )
    mean_field_steps: int = Field(5, ge=1, description="steps of the mean-field relaxation")
    mean_field_width: float = Field(0.1, gt=0, description="standard deviation of the factorised Gaussian, in model space")
    grids: tuple[int, ...] = Field(
        (2, 4), min_length=1, description="sides of the coarser grids in pixels, ascending; each divides the next one"
    )
    grid_width: int = Field(128, ge=1, description="units per hidden layer of the energies of the coarser grids")


class CD(Contrastive):
    """CD-k: negative samples k steps away from the data.

    Not the gradient of any function, and blind to low energies that k steps from the data do not reach; for long chains it is maximum
    likelihood (Hinton 2002; Carreira-Perpiñán & Hinton 2005). Chains may also start at a mean-field relaxation of the batch (Welling &
    Hinton 2002), or, for images, at samples of energies of coarser grids, which are trained beside this one; each grid starts from
    samples of the one below, and the coarsest from the images' mean grey values (Gao et al. 2018).
    """

    name = "cd"
    revision = 1
    title = "CD"
    references = (
        Reference("G. E. Hinton", "Training products of experts by minimizing contrastive divergence", 2002),
        Reference("M. Á. Carreira-Perpiñán, G. E. Hinton", "On contrastive divergence learning", 2005),
        Reference("M. Welling, G. E. Hinton", "A new learning algorithm for mean field Boltzmann machines", 2002),
        Reference("R. Gao et al.", "Learning generative ConvNets via multi-grid modeling and sampling", 2018, "1709.08868"),
    )
    Config = CDConfig
    config: CDConfig
    settings_by_kind: ClassVar[ByKind] = {"images": {**ON_IMAGES, "steps": 20}}

    def __init__(self, setup: Setup) -> None:
        assert isinstance(setup.config, CDConfig)
        if setup.config.start == "multigrid" and (setup.config.support == "box" or setup.config.spectral_norm or setup.config.learned_base):
            raise ValueError(
                "a multi-grid start has coarser energies on fixed bases in the whole space, with free weights: leave out support, "
                "spectral_norm and learned_base"
            )
        super().__init__(setup)
        self.multigrid = Multigrid(self.config.grids, setup.spec) if self.config.start == "multigrid" else None

    def made(self, setup: Setup) -> nn.Module:
        energy = super().made(setup)
        if self.config.start == "multigrid":
            # Below the energy itself, so that one update, one average and one check for divergence take them all.
            energy.coarser = Multigrid.energies(self.config.grids, self.spec, self.config.grid_width, self.temperature)
        return energy

    @property
    def gradient_evaluations_per_step(self) -> int:
        """As in `Contrastive`, on every grid; a mean-field step costs one per example."""
        energies = 1 + len(self.config.grids) if self.multigrid else 1
        relaxation = self.config.mean_field_steps if self.config.start == "mean_field" else 0
        return super().gradient_evaluations_per_step * energies + self.config.batch_size * relaxation

    @staticmethod
    def coarser(energy: nn.Module) -> nn.ModuleList:
        """The energies of the coarser grids below ``energy``."""
        grids = energy.get_submodule("coarser")
        assert isinstance(grids, nn.ModuleList)
        return grids

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        config, grids, cost, start = self.config, None, 0, batch
        if config.start == "mean_field":
            with frozen(self.live):
                start = mean_field(self.live, batch, config.mean_field_steps, self.kernel.step_size, config.mean_field_width, generator)
            cost = len(batch) * config.mean_field_steps
        if self.multigrid:
            grey = batch.mean((2, 3), keepdim=True)
            with frozen(self.live):
                grids, start, cost = self.multigrid.chains(self.coarser(self.live), grey, self.kernel, config.steps, generator)
            cost += 2 * len(batch) * len(grids)
        x, summary = self.moved(start, generator)
        return Negatives(x, summary, cost=summary.gradient_evaluations + cost, grids=grids)

    def loss_beside(self, batch: Tensor, negatives: Negatives, generator: torch.Generator) -> Tensor | None:
        if self.multigrid and negatives.grids:
            config, energies = self.config, self.coarser(self.live)
            loss, largest = self.multigrid.loss(energies, batch, negatives.grids, config.data_noise, config.energy_penalty, generator)
            within(float(largest), config.optimiser.energy_bound, "the largest energy of a coarser grid")
            return loss
        return None

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        if self.multigrid:
            self.multigrid.remember(batch, int(self.learner.updates))
        return {}

    def own_samples(self, n: int, generator: torch.Generator) -> Samples | None:
        """Of a multi-grid start: ``n`` samples from coarse to fine, as in training."""
        if not self.multigrid:
            return None
        energy, steps = self.learner.average, self.config.steps
        with frozen(self):
            grey = self.multigrid.remembered(n, generator)
            _, start, cost = self.multigrid.chains(self.coarser(energy), grey, self.kernel, steps, generator)
        return self.short_chains(start, generator, cost, "from coarse to fine")
