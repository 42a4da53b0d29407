"""A variational autoencoder: a latent-variable model by the evidence lower bound."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import KernelConfig, MethodConfig, OptimiserConfig
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.latent_networks import LatentNetworkConfig, build_decoder, build_encoder
from ebmpipe.latent_variable import LatentVariableLaw
from ebmpipe.methods.base import ByKind, Reference, Setup, build_kernel
from ebmpipe.methods.transported import Transported

#: What would revise latent vectors under the posterior; training takes no step of it.
POSTERIOR_KERNEL = KernelConfig(name="mala", settings={"step_size": 0.1})


class VAEConfig(MethodConfig):
    """Settings of `VAE`."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    latent: int = Field(2, ge=1, description="dimension of the latent vectors")
    noise: float = Field(
        0.5, gt=0, description="standard deviation of the noise on the decoder's output at first, in units of the data's; it is learned"
    )
    decoder: LatentNetworkConfig = Field(LatentNetworkConfig(), description="the decoder; how it is updated `optimiser` says")
    encoder: LatentNetworkConfig = Field(LatentNetworkConfig(), description="the encoder, likewise")
    draws: int = Field(
        16, ge=1, description="latent vectors that the encoder proposes for the density of an example, by importance sampling, once trained"
    )
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(learning_rate=1e-3, betas=(0.9, 0.99), gradient_clip=10.0), description="how both are updated"
    )


class VAE(Transported):
    """Maximum of the evidence lower bound of log p(x), with p the law of g(z) + σε, z ~ N(0, I), and an encoder q(z | x) that proposes z.

    Decoder, encoder and σ are learned together (Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014). E is minus the logarithm of the
    density, estimated by importance sampling with the encoder (Burda, Grosse & Salakhutdinov 2016): too high on average, the less so the
    more `draws` there are. Samples are exact, noise included. A row of its own, and the latent-variable backbone of models that tilt it;
    the energy network of the other methods has no part in it.
    """

    name = "vae"
    revision = 1
    title = "VAE"
    references = (
        Reference("D. P. Kingma, M. Welling", "Auto-encoding variational Bayes", 2014, "1312.6114"),
        Reference(
            "D. J. Rezende, S. Mohamed, D. Wierstra",
            "Stochastic backpropagation and approximate inference in deep generative models",
            2014,
            "1401.4082",
        ),
        Reference("Y. Burda, R. Grosse, R. Salakhutdinov", "Importance weighted autoencoders", 2016, "1509.00519"),
    )
    Config = VAEConfig
    config: VAEConfig
    sampler = "decoder"
    generates = True
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 512, "decoder": {"gain": 4.0}},
        "images": {"latent": 16, "data_noise": 0.3, "draws": 8},
    }

    def made(self, setup: Setup) -> nn.Module:
        config, spec = setup.config, setup.spec
        assert isinstance(config, VAEConfig)
        if config.decoder.normalisation == "batch":
            raise ValueError(f"with `normalisation: batch` the density of {self.name} would depend on the batch: leave it out")
        decoder = build_decoder(config.latent, spec.shape, config.decoder)
        encoder = build_encoder(spec.shape, config.latent, config.encoder)
        fixed = torch.randn(config.draws, config.latent, generator=setup.generator)
        return LatentVariableLaw(decoder, encoder, config.latent, config.noise, spec, fixed)

    def latent_codes(self) -> LatentCodes:
        law = self.learner.average
        assert isinstance(law, LatentVariableLaw)
        return LatentCodes(law, build_kernel(POSTERIOR_KERNEL, kind="vectors"), steps=0)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example once, in the weights."""
        return self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        live = self.live
        assert isinstance(live, LatentVariableLaw)
        e = torch.randn(len(batch), live.latent, generator=generator, device=batch.device).to(batch)
        energies = -live.bound(batch, e)
        report = self.update(energies.mean(), energies, batch)
        return report | {"noise": live.log_noise.detach().exp()}
