"""Alternating back-propagation: a generator that learns from latent vectors which chains infer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import KernelConfig, MethodConfig, OptimiserConfig
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.latent_networks import LatentNetworkConfig, build_decoder
from ebmpipe.latent_variable import LatentVariableLaw
from ebmpipe.methods.base import ByKind, Reference, Setup, build_kernel
from ebmpipe.methods.transported import Transported


class GeneratorABPConfig(MethodConfig):
    """Settings of `GeneratorABP`."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    latent: int = Field(2, ge=1, description="dimension of the latent vectors")
    noise: float = Field(
        0.1, gt=0, description="σ, standard deviation of the noise on the generator's output, in units of the data's; it stays"
    )
    decoder: LatentNetworkConfig = Field(LatentNetworkConfig(), description="the generator; how it is updated `optimiser` says")
    posterior_kernel: KernelConfig = Field(
        KernelConfig(name="mala", settings={"step_size": 0.1}), description="the kernel that moves latent vectors under the posterior"
    )
    posterior_steps: int = Field(20, ge=1, description="steps of it in an update")
    begin: Literal["kept", "prior"] = Field(
        "kept",
        description="where chains of latent vectors begin: where that of the example ended in the last epoch, or at the prior (short-run)",
    )
    draws: int = Field(256, ge=1, description="latent vectors whose mixture of Gaussians stands for the density, once trained")
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(learning_rate=1e-3, betas=(0.9, 0.99), gradient_clip=10.0), description="how the generator is updated"
    )


class Prior(nn.Module):
    """The inference model of those who have none: N(0, I), whatever x is."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, x: Tensor) -> Tensor:
        """Mean and logarithm of the variance, (n, 2, latent): zero."""
        return x.new_zeros(len(x), 2, self.latent)


class GeneratorABP(Transported):
    """Maximum likelihood of p(x | z) = N(g(z), σ²), z ~ N(0, I), with z of every example inferred by Langevin chains (Han et al. 2017).

    The gradient of log p(x) is the mean of that of log p(x | z) over the posterior of z. Two steps by back-propagation alternate: in z,
    some steps of a chain for each example, that goes on where it was when the example was last seen; and in the weights. There is no
    inference model. A mixture of `draws` Gaussians g(z_k) + σε with z_k of the prior stands for the density of x: the logarithm is too low
    on average over these, and by a lot where z has many dimensions. Samples are exact, noise included.
    """

    name = "generator_abp"
    revision = 1
    title = "Alternating back-propagation"
    references = (
        Reference("T. Han, Y. Lu, S.-C. Zhu, Y. N. Wu", "Alternating back-propagation for generator network", 2017, "1606.08571"),
        Reference(
            "E. Nijkamp, B. Pang, T. Han, L. Zhou, S.-C. Zhu, Y. N. Wu",
            "Learning multi-layer latent variable model via variational optimization of short run MCMC for approximate inference",
            2020,
            "1912.01909",
        ),
    )
    Config = GeneratorABPConfig
    config: GeneratorABPConfig
    sampler = "generator"
    generates = True
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 512, "decoder": {"gain": 4.0}},
        "images": {
            "latent": 16,
            "data_noise": 0.3,
            "noise": 0.3,
            "posterior_kernel": {"name": "ula", "settings": {"step_size": 0.1}},
        },
    }

    kept: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        #: The latent vector of each training example that was seen, by its place in the split; NaN for one that was not.
        self.register_buffer("kept", torch.empty(0, self.config.latent))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if (found := state_dict.get(f"{prefix}kept")) is not None:
            self.kept = self.kept.new_empty(found.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def made(self, setup: Setup) -> nn.Module:
        config, spec = setup.config, setup.spec
        assert isinstance(config, GeneratorABPConfig)
        decoder = build_decoder(config.latent, spec.shape, config.decoder)
        fixed = torch.randn(config.draws, config.latent, generator=setup.generator)
        return LatentVariableLaw(decoder, Prior(config.latent), config.latent, config.noise, spec, fixed, learned_noise=False)

    def codes(self, law: nn.Module) -> LatentCodes:
        """What latent vectors examples may have come from by ``law``."""
        assert isinstance(law, LatentVariableLaw)
        kernel = build_kernel(self.config.posterior_kernel, self.config.posterior_steps, "vectors")
        return LatentCodes(law, kernel, self.config.posterior_steps, infers=False)

    def latent_codes(self) -> LatentCodes:
        return self.codes(self.learner.average)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Of -log p(x, z): in z at every step of the chains, and once in the weights."""
        posterior = self.codes(self.live)
        return self.config.batch_size * (posterior.kernel.cost(posterior.steps) + 1)

    @property
    def follows_examples(self) -> bool:
        return self.config.begin == "kept"

    def followed_step(self, batch: Tensor, chosen: Tensor, generator: torch.Generator) -> dict[str, Any]:
        beyond = int(chosen.max()) + 1 - len(self.kept)
        if beyond > 0:
            self.kept = torch.cat([self.kept, self.kept.new_full((beyond, self.config.latent), torch.nan)])
        start = self.kept[chosen]
        start = torch.where(start.isnan(), self.codes(self.live).prior(len(batch), generator), start)
        z, report = self.taught(batch, start, generator)
        self.kept[chosen] = z
        return report

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """An update with chains from the prior."""
        return self.taught(batch, self.codes(self.live).prior(len(batch), generator), generator)[1]

    def taught(self, batch: Tensor, start: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """An update by chains from ``start`` (n, latent): where they ended, and what to report."""
        posterior = self.codes(self.live)
        z, summary = posterior.revised(batch, start, posterior.steps, generator)
        misfit = posterior.law.misfit(batch, z)
        report = self.update(misfit.mean(), misfit, batch)
        return z, report | {"acceptance": summary.acceptance, "code_norm": z.square().sum(1).mean().sqrt()}
