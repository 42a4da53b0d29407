"""An energy, a generator and an inference model that learn together: what dual-MCMC teaching and its relatives share."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, MethodConfig, OptimiserConfig
from ebmpipe.energies import frozen
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.latent_networks import LatentNetworkConfig, build_decoder, build_encoder
from ebmpipe.latent_variable import LatentVariableLaw
from ebmpipe.methods.base import CHUNK, ByKind, EnergyMethod, Reference, Samples, Setup, build_kernel
from ebmpipe.methods.contrastive import told_of_contrast
from ebmpipe.optimisation import Learner, Update
from ebmpipe.sample_revision import SampleRevision
from ebmpipe.samplers import Summary

DUAL_MCMC = Reference("J. Cui, T. Han", "Learning energy-based model via dual-MCMC teaching", 2023, "2312.02469")


class GeneratorFamilyConfig(MethodConfig):
    """Settings of every member of the family."""

    batch_size: int = Field(128, ge=2, description="examples per update, and samples of the generator")
    latent: int = Field(2, ge=1, description="dimension of the latent vectors")
    noise: float = Field(
        0.1, gt=0, description="σ, standard deviation of the noise on the generator's output, in units of the data's; it stays"
    )
    decoder: LatentNetworkConfig = Field(LatentNetworkConfig(gain=4.0), description="the generator, and how it is updated")
    encoder: LatentNetworkConfig = Field(LatentNetworkConfig(), description="the inference model, and how it is updated")
    posterior_kernel: KernelConfig = Field(
        KernelConfig(name="mala", settings={"step_size": 0.1}), description="the kernel that revises latent vectors under the posterior"
    )
    posterior_steps: int = Field(10, ge=0, description="steps of it")
    likelihood: Literal["equation", "released"] = Field(
        "equation",
        description="of the posterior: exp(-‖x - g(z)‖²/2σ²) as written, or without the ½, as the released code of Cui & Han has it",
    )
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(learning_rate=1e-3, betas=(0.0, 0.9)), description="how the energy network is updated"
    )


class GeneratorFamily(EnergyMethod):
    """What members share: the three models, each with a learner of its own, and what latent vectors examples may have come from.

    The generator is p(x | z) = N(g(z), σ²) with z ~ N(0, I), the inference model q(z | x) = N(μ(x), diag τ²(x)), and the energy that of
    every method. The own sampler is the generator, without the noise that the data were given: of N(g(z), σ²) what is left of σ² is drawn.
    """

    Config = GeneratorFamilyConfig
    config: GeneratorFamilyConfig
    supports = frozenset({"space"})  # the generator reaches beyond every box
    generates = True
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 64, "noise": 0.17},
        "images": {
            "batch_size": 50,
            "data_noise": 0.3,
            "latent": 16,
            "noise": 0.3,
            "posterior_kernel": {"name": "ula", "settings": {"step_size": 0.1}},
            "decoder": {"gain": 1.0},
        },
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        config, spec, optimiser = self.config, setup.spec, self.config.optimiser
        decoder = build_decoder(config.latent, spec.shape, config.decoder)
        self.generator = Learner(decoder, config.decoder.optimiser(optimiser), setup.iterations)
        encoder = build_encoder(spec.shape, config.latent, config.encoder)
        self.inference = Learner(encoder, config.encoder.optimiser(optimiser), setup.iterations)
        if not self.infers:
            self.inference.requires_grad_(False)  # nor is it counted among what is learned
        kernel = self.posterior_kernel
        if not kernel.one_point_per_chain:
            raise ValueError(
                f"{self.name} has an example for each latent vector, and {kernel.name} would mix up which: take mala, ula or hmc"
            )
        if kernel.adjusted and config.decoder.normalisation == "batch":
            raise ValueError(
                f"with `normalisation: batch` the energy of one latent vector depends on the others, and {kernel.name} cannot accept or "
                "reject it: take `posterior_kernel: {name: ula}`"
            )

    @property
    def infers(self) -> bool:
        """Whether the inference model learns; where it does not, chains of latent vectors begin at the prior."""
        return True

    def models(self, averaged: bool) -> LatentVariableLaw:
        """Generator and inference model as one law, with live or with averaged weights; it owns neither."""
        decoder, encoder = (each.average if averaged else each.network for each in (self.generator, self.inference))
        law = LatentVariableLaw(decoder, encoder, self.config.latent, self.config.noise, self.spec, learned_noise=False)
        return law.to(next(self.learner.network.parameters()))

    @cached_property
    def posterior_kernel(self) -> samplers.Kernel:
        """What revises latent vectors."""
        return build_kernel(self.config.posterior_kernel, self.config.posterior_steps or None, "vectors")

    def codes(self, law: LatentVariableLaw) -> LatentCodes:
        """What latent vectors examples may have come from by ``law``."""
        return LatentCodes(law, self.posterior_kernel, self.config.posterior_steps, self.infers, self.config.likelihood == "released")

    def latent_codes(self) -> LatentCodes:
        return self.codes(self.models(True))

    def drawn(self, law: LatentVariableLaw, n: int, generator: torch.Generator) -> Tensor:
        """Latent vectors of the prior and noise on what becomes of them, side by side: (n, `LatentVariableLaw.dimension`)."""
        return torch.randn(n, law.dimension, generator=generator, device=generator.device).to(law.fixed)

    def of_inference(self, law: LatentVariableLaw, x: Tensor, z: Tensor) -> Tensor:
        """-log q(z | x) in nats, up to a constant, of every pair, (n,)."""
        mean, deviation = law.encoded(x)
        return (((z - mean) / deviation).square() / 2 + deviation.log()).sum(1)

    @torch.no_grad()
    def generator_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples of the generator as they are, averaged weights, without the noise that the data were given."""
        law, drawn = self.models(True), []
        left = max(0.0, (law.std * self.config.noise) ** 2 - self.noise_level**2) ** 0.5
        for first in range(0, n, CHUNK):
            u = self.drawn(law, min(CHUNK, n - first), generator)
            z, noise = u.split([law.latent, law.dimension - law.latent], dim=1)
            drawn.append(law.decoded(z) + left * noise.view(-1, *self.spec.shape))
        return Samples(torch.cat(drawn), "generator")

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        return self.generator_samples(n, generator)


class RevisingConfig(GeneratorFamilyConfig):
    """Settings of members that revise the generator's samples under the energy."""

    start: Literal["sample", "mean"] = Field(
        "sample",
        description="what is revised: the generator's g(z) + σε, as written, or g(z), as in the released code of Cui & Han",
    )
    kernel: KernelConfig = Field(
        KernelConfig(name="mala", settings={"step_size": 0.25}),
        description="the kernel that revises the generator's samples under the energy",
    )
    steps: int = Field(30, ge=1, description="steps of it")


class Revising(GeneratorFamily):
    """Members whose energy learns from the generator's samples after some steps of a kernel under it, and whose generator follows these.

    The own sampler is the generator's samples, revised as in training.
    """

    Config = RevisingConfig
    config: RevisingConfig
    revises = True
    settings_by_kind: ClassVar[ByKind] = {
        "density": {**GeneratorFamily.settings_by_kind["density"], "steps": 10},
        "images": {**GeneratorFamily.settings_by_kind["images"], "kernel": {"name": "ula", "settings": {"step_size": 0.2}}, "steps": 15},
    }

    @cached_property
    def kernel(self) -> samplers.Kernel:
        """What revises samples. Its temperature decides how the energy is made."""
        return build_kernel(self.config.kernel, self.config.steps, self.spec.kind)

    @property
    def temperature(self) -> float:
        return self.kernel.temperature

    @property
    def revisions(self) -> int:
        """How often an update revises samples."""
        return 1

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every step of the revisions, then data and negatives once, in the weights; passes of generator and encoder alone are none."""
        return self.config.batch_size * (self.revisions * self.kernel.cost(self.config.steps) + 2)

    @property
    def random_cost(self) -> bool:
        return self.kernel.random_cost

    @torch.no_grad()
    def started(self, law: LatentVariableLaw, u: Tensor) -> Tensor:
        """What is revised, (n, *event), of latent vectors and noise ``u`` (n, dimension); constants."""
        return law.carried(u) if self.config.start == "sample" else law.decoded(u[:, : law.latent])

    def revised(self, start: Tensor, generator: torch.Generator) -> tuple[Tensor, Summary]:
        """Samples from ``start`` (n, *event) after ``steps`` steps under the energy as it now is."""
        with frozen(self.live):
            return samplers.run(self.kernel, self.live, start, self.config.steps, generator)

    def contrast(self, batch: Tensor, negatives: Tensor, *summaries: Summary) -> tuple[Update, dict[str, Any]]:
        """The energy's update by the contrast of data and the negatives that the last of some revisions came to, and what to report."""
        x = torch.cat([batch, negatives])
        energies = self.live(x)
        on_data, on_negatives = (part.mean() for part in energies.split([len(batch), len(negatives)]))
        report = told_of_contrast(on_data, on_negatives, self.kernel, summaries[-1])
        if self.random_cost:
            report["gradient_evaluations"] = sum(summary.gradient_evaluations for summary in summaries) + len(x)
        return self.as_update(on_data - on_negatives, energies, x), report

    def sample_revision(self) -> SampleRevision:
        law = self.models(True)

        def start(n: int, generator: torch.Generator) -> Tensor:
            return self.started(law, self.drawn(law, n, generator))

        return SampleRevision(start, self.kernel, self.learner.average, self.config.steps)

    def generated_samples(self, n: int, generator: torch.Generator) -> Samples:
        return self.generator_samples(n, generator)

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        revision, drawn, acceptance, evaluations = self.sample_revision(), [], 0.0, 0
        with frozen(self), torch.no_grad():
            for first in range(0, n, CHUNK):
                start = revision.start(min(CHUNK, n - first), generator)
                x, summary = samplers.run(revision.kernel, revision.energy, start, revision.steps, generator)
                acceptance += summary.acceptance * len(x) / n
                evaluations += summary.gradient_evaluations
                drawn.append(x)
        x = torch.cat(drawn)
        return Samples(
            self.denoised(x),
            "revised samples",
            before=x if self.denoises else None,
            acceptance=acceptance if self.kernel.adjusted else None,
            sampler_steps=self.config.steps,
            gradient_evaluations=evaluations + n * int(self.denoises),
            temperature=self.temperature,
            notes={"kernel": self.config.kernel.model_dump(mode="json")},
        )
