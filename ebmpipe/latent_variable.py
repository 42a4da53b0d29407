"""The law of a latent-variable model, Gaussian about what a decoder makes of Gaussian vectors; its density by importance sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ebmpipe.spec import DataSpec
from ebmpipe.transported_law import TransportedLaw

#: Bound of the logarithm of the encoder's variances: far from the data a network may say anything, and its exponential is no number.
LARGEST = 10.0


class LatentVariableLaw(TransportedLaw):
    """The law of x = m + s (g(z) + σε) with z, ε ~ N(0, I) and the data's mean m and standard deviation s. Its support is the whole space.

    Its density p(x) = ∫ p(x | z) N(z; 0, I) dz is known only as a mean over an encoder's q(z | x): p̂(x) is that of p(x, z)/q(z | x) over
    z_k = μ(x) + τ(x) e_k (Burda, Grosse & Salakhutdinov 2016). The e_k are the same for every x and at every call, so that -log p̂ is a
    smooth energy. On average over them p̂ is p, so that -log p̂ is too high.

    Args:
        decoder: g, (n, latent) -> (n, *event), of standardised events.
        encoder: (n, *event) standardised -> (n, 2, latent), μ and log τ².
        latent: dimension of z.
        noise: σ; at first, if it is a weight.
        spec: the data.
        fixed: the e_k, (draws, latent); None: one, which is 0.
        learned_noise: whether σ is a weight.

    Attributes:
        log_noise: log σ.
    """

    estimated = True
    fixed: Tensor
    log_noise: Tensor

    def __init__(
        self,
        decoder: nn.Module,
        encoder: nn.Module,
        latent: int,
        noise: float,
        spec: DataSpec,
        fixed: Tensor | None = None,
        learned_noise: bool = True,
    ) -> None:
        super().__init__(spec.shape)
        self.decoder, self.encoder, self.latent, self.mean, self.std = decoder, encoder, latent, spec.mean, spec.std
        self.dimension = latent + spec.dimension
        log_noise = torch.tensor(math.log(noise))
        if learned_noise:
            self.log_noise = nn.Parameter(log_noise)
        else:
            self.register_buffer("log_noise", log_noise)
        self.register_buffer("fixed", torch.zeros(1, latent) if fixed is None else fixed)
        self.log_constant = spec.dimension * math.log(spec.std)

    def carried(self, u: Tensor) -> Tensor:
        """m + s (g(z) + σε) of vectors u = (z, ε), (n, dimension)."""
        z, noise = u.split([self.latent, self.dimension - self.latent], dim=1)
        value: Tensor = self.decoder(z) + self.log_noise.exp() * noise.view(-1, *self.shape)
        return self.mean + self.std * value

    def decoded(self, z: Tensor) -> Tensor:
        """m + s g(z), (n, *event), the mean of x given z (n, latent)."""
        value: Tensor = self.decoder(z)
        return self.mean + self.std * value

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean μ(x) and standard deviation τ(x) of q(z | x), each (n, latent)."""
        mean, log_variance = self.encoder((x - self.mean) / self.std).unbind(1)
        return mean, (log_variance.clamp(-LARGEST, LARGEST) / 2).exp()

    def misfit(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) in nats, up to a constant, of every pair: ‖x - m - s g(z)‖²/2s²σ², (n,). σ is held fixed."""
        residual = ((x - self.decoded(z)) / self.std).flatten(1).square().sum(1)
        return residual / (2 * (2 * self.log_noise.detach()).exp())

    def log_given(self, residual: Tensor) -> Tensor:
        """log p(y | z) of a standardised event y in nats, by the square of its distance from g(z)."""
        dimension = self.dimension - self.latent
        return -residual / (2 * (2 * self.log_noise).exp()) - dimension * (self.log_noise + math.log(2 * math.pi) / 2)

    def log_weights(self, x: Tensor, e: Tensor) -> Tensor:
        """log p(x, z_k) - log q(z_k | x) in nats, (draws, n), at z_k = μ(x) + τ(x) e_k for ``e`` (draws, n or 1, latent)."""
        mean, deviation = self.encoded(x)
        z = mean + deviation * e
        flat = z.reshape(-1, self.latent)
        y = ((x - self.mean) / self.std).flatten(1)
        made = self.decoder(flat).reshape(*z.shape[:2], -1)
        log_given = self.log_given((y - made).square().sum(2))
        # The factors (2π)^(-latent/2) of prior and encoder cancel.
        log_prior, log_encoder = -z.square().sum(2) / 2, -e.square().sum(2) / 2 - deviation.log().sum(1)
        weights: Tensor = log_given + log_prior - log_encoder - self.log_constant
        return weights

    def bound(self, x: Tensor, e: Tensor) -> Tensor:
        """The evidence lower bound of log p(x) by one z of each, μ(x) + τ(x) e for ``e`` (n, latent): (n,) in nats (Kingma & Welling 2014).

        Equal to `log_weights` on average, with the Kullback-Leibler divergence of encoder and prior in closed form.
        """
        mean, deviation = self.encoded(x)
        y = ((x - self.mean) / self.std).flatten(1)
        log_given = self.log_given((y - self.decoder(mean + deviation * e).flatten(1)).square().sum(1))
        divergence = (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum(1) / 2
        bound: Tensor = log_given - divergence - self.log_constant
        return bound

    def forward(self, x: Tensor) -> Tensor:
        """-log p̂(x) in nats, (n,)."""
        weights = self.log_weights(x, self.fixed[:, None].to(x))
        return math.log(len(self.fixed)) - weights.logsumexp(0)


class Posterior:
    """E(z) = ‖x - g(z)‖²/2σ² + ‖z‖²/2 in standardised units: what z may have been, given one x for each, up to a constant.

    Args:
        law: decoder and σ.
        x: (n, *event); the i-th is that of the i-th latent vector.
        doubled: whether the likelihood is squared, exp(-‖x - g(z)‖²/σ²), as the released code of Cui & Han (2023) has it.
    """

    def __init__(self, law: LatentVariableLaw, x: Tensor, doubled: bool = False) -> None:
        self.law, self.x, self.factor = law, x.detach(), 2.0 if doubled else 1.0

    def __call__(self, z: Tensor) -> Tensor:
        """E in nats, (n,)."""
        return self.factor * self.law.misfit(self.x, z) + z.square().sum(1) / 2
