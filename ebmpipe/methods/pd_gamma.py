"""Particle dynamics in the space of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import NetworkConfig, OptimiserConfig
from ebmpipe.energies import GaussianLaw, Law
from ebmpipe.energy_change import EnergyChange
from ebmpipe.methods.base import ByKind, Reference, Setup
from ebmpipe.methods.grid_function import GridFunction
from ebmpipe.methods.particle_dynamics import PARTICLE_DYNAMICS, STEPS, ParticleDynamicsConfig, Particles
from ebmpipe.methods.pd_alpha import PDAlpha
from ebmpipe.methods.tangent_network import TangentNetwork
from ebmpipe.nets.base import EnergyNetwork, build_network
from ebmpipe.nets.perceptron import Perceptron
from ebmpipe.spec import DataSpec


class PDGammaConfig(ParticleDynamicsConfig):
    """Settings of `PDGamma`."""

    steps: int = Field(0, ge=0, description=STEPS)
    network: NetworkConfig | None = Field(None, description="the network whose tangent kernel it is; null: that of all methods")
    draws: Literal["kept", "fresh"] = Field(
        "kept",
        description="kept: the kernel is that of networks which are drawn once; fresh: of a new one in every update, the energy being kept "
        "on a grid, as the authors have it, in the plane",
    )
    members: int = Field(2, ge=1, description="networks whose tangent kernels are averaged, if they are kept")
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(sgd_after=0.0, sgd_learning_rate=2e-2, schedule="constant", average_decay=0.0),
        description="plain gradient descent, whose learning rate is the step h of energy and particles alike",
    )


#: Nodes of the grid per pass.
NODES = 4096


class PDGamma(PDAlpha):
    """E ← E + h Ė and y ← y - h ∇Ė(y), with Ė = E_particles k(·, y) - E_data k(·, x) of a tangent kernel k and without Langevin steps.

    The energy is linear in what is learned (`TangentNetwork`), so that gradient descent in the weights is descent in the space of
    functions and a finite difference of energies is h Ė exactly: `pd_alpha` for such an energy. Where the kernel is smooth the particles
    follow the gradient flow of the squared maximum mean discrepancy ½ MMD²(particles, data) in it (Arbel et al. 2019), and -Ė is its
    witness function. The kernel of leaky rectifiers has jumps, which slopes do not know.

    With ``draws: fresh`` every update has the kernel of a network of its own, an estimate of the expected one, as the authors have it. An
    energy that is a sum over all of them is no network any more; it is kept on a grid (`GridFunction`). A kernel that stays is the average
    over ``members`` networks: there the energy can be evaluated anywhere, and learns to tell data from particles by what is particular to
    these networks.

    Particles without Langevin steps come to the data; their energy does not (see `ParticleDynamics`).
    """

    name = "pd_gamma"
    revision = 1
    title = "PD Gamma"
    references = (
        PARTICLE_DYNAMICS,
        Reference("M. Arbel, A. Korba, A. Salim, A. Gretton", "Maximum mean discrepancy gradient flow", 2019, "1906.04370"),
        Reference(
            "A. Jacot, F. Gabriel, C. Hongler",
            "Neural tangent kernel: convergence and generalization in neural networks",
            2018,
            "1806.07572",
        ),
    )
    Config = PDGammaConfig
    config: PDGammaConfig
    settings_by_kind: ClassVar[ByKind] = {"images": {"data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        if setup.config.spectral_norm is not None:
            raise ValueError(f"{self.name} learns in the space of functions, where there are no weight matrices: leave out spectral_norm")
        super().__init__(setup)
        #: The network of the update, which is no part of the state, and the rates of its weights.
        self.drawn: tuple[Perceptron, ...] = ()
        self.rates: dict[str, Tensor] = {}

    def base_of(self, setup: Setup) -> Law:
        """On a grid, as the authors have it, the Gaussian of the data's own mean and standard deviation."""
        assert isinstance(setup.config, PDGammaConfig)
        return GaussianLaw.of(setup.spec, 1.0) if setup.config.draws == "fresh" else super().base_of(setup)

    def network(self, setup: Setup, spec: DataSpec) -> nn.Module:
        # Networks are drawn as others are, from torch's global stream, whatever draws them.
        self._draw: tuple[Callable[[], EnergyNetwork]] = (lambda: build_network(self.config.network or setup.network, spec, self.classes),)
        if self.config.draws == "kept":
            return TangentNetwork(self._draw[0], self.config.members, self.classes)
        if spec.kind != "density" or self.config.learned_base or self.classes:
            raise ValueError(f"{self.name} keeps an energy on a grid only in the plane, on a base that stays: set `draws: kept`")
        return GridFunction()

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Particles:
        found = super().negatives(batch, generator)
        if self.config.draws == "fresh":
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                drawn = self._draw[0]().to(batch)
            if not isinstance(drawn, Perceptron) or list(drawn.activations.parameters()):
                raise ValueError(f"{self.name} draws perceptrons without weights in their activations: set `network`, or `draws: kept`")
            self.drawn = (drawn,)
            # What the contrast of particles and data is the derivative along.
            standard = [(x - self.spec.mean) / self.spec.std for x in (found.x, batch)]
            contrast = drawn(standard[0]).mean() - drawn(standard[1]).mean()
            weights = dict(drawn.named_parameters())
            self.rates = dict(zip(weights, torch.autograd.grad(contrast, list(weights.values())), strict=True))
        return found

    def rate(self, x: Tensor) -> Tensor:
        """Ė at standardised points, (n,), of the network of this update."""
        (drawn,) = self.drawn
        weights = {name: weight.detach() for name, weight in drawn.named_parameters()}
        return drawn.along_weights(x, weights, self.rates)[:, 0]

    def update(self, loss: Tensor, energies: Tensor, x: Tensor, base: Tensor | None = None) -> dict[str, Any]:
        if self.config.draws == "kept":
            return super().update(loss, energies, x, base)
        grid = self.live.network
        assert isinstance(grid, GridFunction)
        self.step = self.learner.learning_rate()
        with torch.no_grad():
            rate = torch.cat([self.rate(part) for part in grid.nodes.split(NODES)])
        # A loss with the value of the contrast, whose descent in the values at the nodes adds h Ė to them.
        towards = -(grid.values.flatten() * rate).sum()
        return super().update(loss.detach() + towards - towards.detach(), energies, x, base)

    def displacement(self, change: EnergyChange, x: Tensor, batch: Tensor) -> Tensor:
        if self.config.draws == "kept":
            return super().displacement(change, x, batch)
        points = ((x - self.spec.mean) / self.spec.std).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.rate(points).sum(), points)
        return -self.step * slope / self.spec.std
