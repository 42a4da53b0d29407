"""A generator with noise on its output, and its entropy: the variational law of adversarial training."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.energies import BASE_WIDTH
from ebmpipe.event_map import EventMap, EventMapConfig
from ebmpipe.optimisation import Diverged
from ebmpipe.spec import DataSpec


class NoisyGeneratorConfig(EventMapConfig):
    """Size of the generator, how it is updated, and how its score is estimated."""

    latent: int | None = Field(None, ge=1, description="dimension of the latent vectors; null: that of the data")
    noise: float = Field(
        0.1, gt=0, description="standard deviation of the noise on its output, in units of the data's: nothing it makes is finer than that"
    )
    proposals: int = Field(
        8, ge=1, description="Gaussians, each about what one sample of the batch suggests, whose draws tell score and density of a sample"
    )


class NoisyGenerator(nn.Module):
    """x = g(z) + σε with z ~ N(0, I) and ε ~ N(0, I): a law q with samples, whose score is an expectation over z given x.

    ∇ log q(x) is the mean of h = (g(z) - x)/σ² over z given x. The z that made x is one draw of it, but of no use: there h is -ε/σ, which
    does not know how x moves with the weights, as the gradient of the entropy needs. Grathwohl et al. (2021) weigh draws about that z,
    which hold on to it in part. Here draws are from Gaussians that z given x is close to: one step of Newton's method away from each of
    several latent vectors, with the precision Λ = JᵀJ/σ² + I by g's derivative J there. These are the z that made x and those that made
    the nearest other samples of the batch: a generator that folds reaches x from many places, and would be taken for one of more entropy
    than it has if only one of them were known. Where g is linear, all are the one Gaussian that z given x is, whatever z was; draws
    come in pairs about its mean, and score and density are exact. Else weights see to the difference, p(x, z) over the mixture's density.

    Args:
        spec: the data.
        config: its size.

    Attributes:
        noise: σ, in units of x.
    """

    def __init__(self, spec: DataSpec, config: NoisyGeneratorConfig) -> None:
        super().__init__()
        self.latent, self.proposals = config.latent or spec.dimension, config.proposals
        self.mean, self.std, self.noise = spec.mean, spec.std, config.noise * spec.std
        self.map = EventMap(self.latent, spec.shape, config)
        # With as many latent numbers as coordinates q starts as the base of energies, to which they are zero at first.
        with torch.no_grad():
            nn.init.eye_(self.map.linear.weight).mul_(math.sqrt(BASE_WIDTH**2 - min(config.noise, BASE_WIDTH) ** 2))
            for parameter in self.map.perceptron[-1].parameters():
                parameter.zero_()

    def forward(self, z: Tensor) -> Tensor:
        """g(z), (n, *event), of latent vectors (n, latent)."""
        value: Tensor = self.map(z)
        return self.mean + self.std * value

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``n`` samples (n, *event), as functions of its weights, and the latent vectors (n, latent) that made them."""
        z = torch.randn(n, self.latent, generator=generator, device=generator.device).to(self.map.linear.weight)
        clean = self(z)
        return clean + self.noise * torch.randn(clean.shape, generator=generator, device=generator.device).to(clean), z

    def local(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """g(z) (n, coordinates), its derivative (n, coordinates, latent), and the Cholesky factor (n, latent, latent) of Λ; all in doubles.

        With more latent numbers than coordinates some have precision 1 and others (slope/σ)², of which single precision would lose the 1.

        Raises:
            Diverged: if the derivative is not finite, or too steep to be squared.
        """
        jacobian = self.std * self.map.jacobian(z).double()
        own = torch.eye(self.latent, dtype=jacobian.dtype, device=z.device)
        root, failures = torch.linalg.cholesky_ex(jacobian.mT @ jacobian / self.noise**2 + own)
        if failures.any():
            raise Diverged("the generator's derivative is not finite, or too steep to be squared")
        return self(z).flatten(1).double(), jacobian, root

    @torch.no_grad()
    def score(self, x: Tensor, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """∇ log q(x), shape of ``x``, and log q(x) in nats, (n,), estimated at samples; constants.

        Args:
            x: samples (n, *event), taken as constants.
            z: the latent vectors that made them, (n, latent).
            generator: of the draws.

        Raises:
            Diverged: as `local`.
        """
        at, latent, (clean, jacobian, root) = x.flatten(1).double(), z.double(), self.local(z)
        # The k samples whose latent vectors may have made each, itself first: (n, k) numbers.
        distances = torch.cdist(at, clean).fill_diagonal_(-1.0)
        nearest = distances.topk(min(self.proposals, len(x)), largest=False).indices
        # One proposal after the other: derivatives, as large as n images times latent numbers, are not held for all of them.
        slopes = [(jacobian[which].mT @ (clean[which] - at).unsqueeze(2)).squeeze(2) for which in nearest.T]
        root, slope = root[nearest], torch.stack(slopes, dim=1) / self.noise**2
        means = latent[nearest] - torch.cholesky_solve((latent[nearest] + slope).unsqueeze(3), root).squeeze(3)
        e = torch.randn(means.shape, generator=generator, device=z.device).to(means)
        steps = torch.linalg.solve_triangular(root.mT, e.unsqueeze(3), upper=True).squeeze(3)
        # (n, 2k + 1, latent): pairs about each mean, and last the latent vector that it was.
        draws = torch.cat([means + steps, means - steps, latent[:, None]], dim=1)

        residual = self(draws.flatten(0, 1).to(z)).flatten(1).view(*draws.shape[:2], -1).double() - at[:, None]
        log_given = -residual.square().sum(2) / (2 * self.noise**2) - at.shape[1] * math.log(self.noise * math.sqrt(2 * math.pi))
        # The factors (2π)^(-latent/2) of prior and proposals cancel.
        log_prior = -draws.square().sum(2) / 2
        whitened = (draws[:, None] - means[:, :, None]) @ root
        log_each = root.diagonal(dim1=2, dim2=3).log().sum(2)[:, :, None] - whitened.square().sum(3) / 2
        log_weights = log_given + log_prior - (log_each.logsumexp(1) - math.log(nearest.shape[1]))
        # z weighs what it has more than all draws together: nothing, but where they missed the latent vectors that may have made x.
        total = log_weights[:, :-1].logsumexp(1)
        excess = log_weights[:, -1] - total
        log_weights[:, -1] = torch.where(excess > 0, log_weights[:, -1] + (-(-excess.clamp(min=1e-6)).expm1()).log(), -torch.inf)
        score = (log_weights.softmax(1).unsqueeze(2) * residual).sum(1) / self.noise**2
        return score.to(x).view(x.shape), (log_weights.logsumexp(1) - math.log(2 * nearest.shape[1])).to(x)
