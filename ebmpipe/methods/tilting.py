"""Models that tilt another run's by an energy, p ∝ exp(-f) q, and are sampled in its latent space: what they share."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, MethodConfig, SamplingConfig
from ebmpipe.energies import Energy, Law, frozen
from ebmpipe.methods.base import CHUNK, EnergyMethod, Reference, Samples, Setup, build_kernel, long_chains
from ebmpipe.optimisation import Update
from ebmpipe.transport import LatentEnergy, Tilt, TiltedEnergy
from ebmpipe.transported_law import TransportedLaw

#: Steps of dual averaging that the own sampler finds its step size in, where training has not found one.
ADAPTATION_STEPS = 100


NT_EBM = Reference(
    "E. Nijkamp, R. Gao, P. Sountsov, S. Vasudevan, B. Pang, S.-C. Zhu, Y. N. Wu",
    "MCMC should mix: learning energy-based model with neural transport latent space MCMC",
    2022,
    "2006.06897",
)


class TiltingConfig(MethodConfig):
    """Settings of every method that tilts another run's law."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    kernel: KernelConfig = Field(
        KernelConfig(name="hmc", settings={"step_size": 0.25, "leapfrog_steps": 3, "jitter": 0.2}),
        description="the kernel that moves chains in latent space, where the backbone's own law is standard normal",
    )
    own_steps: int = Field(100, ge=1, description="steps of the own sampler's chains in latent space, from the backbone's samples")


class Tilting(EnergyMethod):
    """Learns f of p ∝ exp(-f) q, where q is the law of another run, of `flow` or `vae`, with its averaged weights, and stays as it is.

    With x = g(z) the law of z is exp(-f(g(z))) N(z; 0, I): a Gaussian, tilted by no more than f corrects the backbone. Of a VAE z is the
    latent vector and the noise on what is decoded from it, together. The own sampler is chains there, from z ~ N(0, I).
    """

    Config = TiltingConfig
    config: TiltingConfig
    requires = ("backbone",)
    latent_space = True
    supports: ClassVar[frozenset[str]] = frozenset({"space"})  # a backbone reaches beyond every box

    def __init__(self, setup: Setup) -> None:
        backbone = setup.required["backbone"]
        law = getattr(backbone, "law", None)
        if not isinstance(law, TransportedLaw):
            raise ValueError(f"{self.name} tilts a flow or a VAE: let `requires: {{backbone: …}}` name a label of method `flow` or `vae`")
        if backbone.noise_level != setup.config.data_noise:
            raise ValueError(
                f"the backbone of {self.name} is of data with noise of {backbone.noise_level:g}, which is what a tilt of it has to be of: "
                f"set `data_noise: {backbone.noise_level:g}`"
            )
        super().__init__(setup)
        if self.kernel.temperature != 1:
            raise ValueError(
                f"{self.name} has one law in latent and in data space, and by chains at another temperature than 1 it would have two: "
                f"leave out the noise_scale of {self.kernel.name}"
            )
        # Not a module of this one: it is another run's, and does not change.
        self._law = (law,)

    @property
    def law(self) -> TransportedLaw:
        """That of the backbone."""
        return self._law[0]

    @property
    def tilted(self) -> Law:
        return self.law

    @property
    def start(self) -> Law:
        return self.law

    def tilt(self, setup: Setup) -> Tilt:
        """A new f."""
        return Tilt(self.network(setup, setup.spec), setup.spec)

    def made(self, setup: Setup) -> nn.Module:
        return self.tilt(setup)

    def modelled(self, energy: nn.Module) -> Energy:
        return TiltedEnergy(energy, self.law)

    def latent_energy(self) -> LatentEnergy:
        return LatentEnergy(self.learner.average, self.law)

    def as_update(self, loss: Tensor, energies: Tensor, x: Tensor, base: Tensor | None = None) -> Update:
        # What is learned is f alone: a penalty has nothing to take off.
        return super().as_update(loss, energies, x, torch.zeros_like(energies) if base is None else base)

    @cached_property
    def kernel(self) -> samplers.Kernel:
        """What moves chains in latent space, with the step size that it is given."""
        return build_kernel(self.config.kernel, kind="vectors")

    def fresh(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` latent vectors of the backbone's own law, (n, dimension)."""
        return self.latent_energy().base.sample(n, generator).to(next(self.parameters()).dtype)

    @property
    def own_sampling(self) -> SamplingConfig:
        """How long the own sampler's chains are, and with what step size they begin."""
        return SamplingConfig(
            kernel=self.config.kernel, steps=self.config.own_steps, adaptation_steps=ADAPTATION_STEPS * self.kernel.adjusted
        )

    @torch.no_grad()
    def latent_samples(self, n: int, generator: torch.Generator) -> Samples:
        energy = self.latent_energy()
        with frozen(self):
            return long_chains(energy, energy.base, self.own_sampling, n, generator)

    @torch.no_grad()
    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples by chains in latent space from the backbone's samples, under the averaged weights."""
        drawn = self.latent_samples(n, generator)
        x = torch.cat([self.law.carried(z) for z in drawn.x.split(CHUNK)])
        return replace(
            drawn,
            x=self.denoised(x),
            sampler="latent chains",
            before=x if self.denoises else None,
            gradient_evaluations=drawn.gradient_evaluations + n * int(self.denoises),
            notes=drawn.notes | {"kernel": self.own_sampling.kernel.model_dump(mode="json")},
        )
