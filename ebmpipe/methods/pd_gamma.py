"""Particle dynamics in the space of functions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from ebmpipe.config import NetworkConfig, OptimiserConfig
from ebmpipe.methods.base import ByKind, Reference, Setup
from ebmpipe.methods.particle_dynamics import PARTICLE_DYNAMICS, STEPS, ParticleDynamicsConfig
from ebmpipe.methods.pd_alpha import PDAlpha
from ebmpipe.methods.tangent_network import TangentNetwork
from ebmpipe.nets.base import build_network
from ebmpipe.spec import DataSpec


class PDGammaConfig(ParticleDynamicsConfig):
    """Settings of `PDGamma`."""

    steps: int = Field(0, ge=0, description=STEPS)
    network: NetworkConfig | None = Field(None, description="the network whose tangent kernel it is; null: that of all methods")
    members: int = Field(2, ge=1, description="networks whose tangent kernels are averaged")
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(sgd_after=0.0, sgd_learning_rate=2e-2, schedule="constant", average_decay=0.0),
        description="plain gradient descent, whose learning rate is the step h of energy and particles alike",
    )


class PDGamma(PDAlpha):
    """E ← E + h Ė and y ← y - h ∇Ė(y), with Ė = E_particles k(·, y) - E_data k(·, x) of a tangent kernel k and without Langevin steps.

    The energy is linear in what is learned (`TangentNetwork`), so that gradient descent in the weights is descent in the space of
    functions and a finite difference of energies is h Ė exactly: `pd_alpha` for such an energy. The particles follow the gradient flow of
    the squared maximum mean discrepancy ½ MMD²(particles, data) in k (Arbel et al. 2019), and -Ė is its witness function. The authors
    draw a new network of leaky rectifiers in every step and keep the energy on a grid; here it is a function everywhere, of a kernel that
    stays: the average of ``members`` such draws, which their step estimates with one.

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

    def network(self, setup: Setup, spec: DataSpec) -> nn.Module:
        return TangentNetwork(
            lambda: build_network(self.config.network or setup.network, spec, self.classes), self.config.members, self.classes
        )
