"""Energies that tilt what a flow or a decoder makes of Gaussian vectors: in data space, and in latent space, where they hardly bend."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ebmpipe.energies import Energy, GaussianLaw, gradient, value_and_gradient
from ebmpipe.spec import DataSpec
from ebmpipe.transported_law import TransportedLaw


class Tilt(nn.Module):
    """f((x - m)/s) with f a network, m, s the data's mean and deviation: what an energy has beside minus the log-density that it tilts.

    Args:
        network: f, (n, *event) -> (n,) in nats.
        spec: the data, for m and s.
    """

    def __init__(self, network: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = spec.standardisation

    def forward(self, x: Tensor) -> Tensor:
        """f in nats, (n,)."""
        value: Tensor = self.network((x - self.mean) / self.std)
        return value

    @torch.no_grad()
    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient, shape of ``x``; the network's own if it offers one."""
        return gradient(self.network, (x - self.mean) / self.std) / self.std

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.network, (x - self.mean) / self.std)
        return value, slope / self.std


class TiltedEnergy:
    """E(x) = f(x) - log q(x): the law q, tilted by exp(-f). log Z is log E_q exp(-f).

    Args:
        tilt: f, (n, *event) -> (n,) in nats.
        law: q.
    """

    def __init__(self, tilt: Energy, law: TransportedLaw) -> None:
        self.tilt, self.law = tilt, law

    def __call__(self, x: Tensor) -> Tensor:
        value: Tensor = self.tilt(x) + self.law(x)
        return value

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient, shape of ``x``."""
        return gradient(self.tilt, x) + self.law.grad(x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        (value, slope), (of_law, slope_of_law) = value_and_gradient(self.tilt, x), self.law.value_and_grad(x)
        return value + of_law, slope + slope_of_law


class LatentEnergy:
    """E(u) = f(x(u)) - log N(u; 0, I): the law of u for which x(u) has the tilted law.

    The density of x, and of a flow the Jacobian's determinant, cancel, so that neither is evaluated (Nijkamp et al. 2022). log Z is that of
    the tilted law in data space.

    Args:
        tilt: f, (n, *event) -> (n,) in nats.
        law: of x(u).
    """

    def __init__(self, tilt: Energy, law: TransportedLaw) -> None:
        self.tilt, self.law = tilt, law
        #: N(0, I) of u, which the tilt tilts.
        self.base = GaussianLaw((law.dimension,), 0.0, 1.0)

    def carried(self, u: Tensor) -> Tensor:
        """x(u), (n, *event), of Gaussian vectors (n, dimension)."""
        return self.law.carried(u)

    def __call__(self, u: Tensor) -> Tensor:
        value: Tensor = self.tilt(self.carried(u)) + self.base(u)
        return value

    def grad(self, u: Tensor) -> Tensor:
        """Its gradient, shape of ``u`` (n, dimension)."""
        return self.value_and_grad(u)[1]

    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Both. ∇f is taken in data space, by hand where f offers it, and pulled back through the map alone."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            x = self.carried(u)
            value, slope = value_and_gradient(self.tilt, x.detach())
            (pulled,) = torch.autograd.grad(x, u, slope)
        u = u.detach()
        return value + self.base(u), pulled + u


@torch.no_grad()
def independence(
    energy: LatentEnergy, z: Tensor, steps: int, generator: torch.Generator, value: Tensor | None = None
) -> tuple[Tensor, float]:
    """Steps of independence Metropolis: latent vectors of the flow's own law are proposed, and accepted with min(1, exp(f(z) - f(z'))).

    Exact for the law of ``energy``, whose Gaussian parts cancel. Where the flow reaches, modes are no obstacle; where f is large somewhere
    that the flow seldom samples, chains stay there long. f is evaluated once per step, and once at the start if it is not known.

    Args:
        energy: of z.
        z: where chains are, (n, dimension).
        steps: how many, at least 1.
        generator: the source of all randomness.
        value: E(z), (n,), if it is known.

    Returns:
        Where they are then, and the mean acceptance.
    """
    f = energy.tilt(energy.carried(z)) if value is None else value - energy.base(z)
    acceptance = 0.0
    for _ in range(steps):
        proposal = torch.randn(z.shape, generator=generator, device=z.device).to(z)
        u = torch.rand(len(z), generator=generator, device=z.device).to(z)
        f_new = energy.tilt(energy.carried(proposal))
        # What is not finite is not entered, and left at once.
        log_ratio = torch.where(f.isfinite(), f - f_new, 0.0).clamp(max=0)
        accept_prob = torch.where(f_new.isfinite(), log_ratio.exp(), 0.0)
        accepted = u < accept_prob
        z, f = torch.where(accepted[:, None], proposal, z), torch.where(accepted, f_new, f)
        acceptance += float(accept_prob.mean()) / steps
    return z, acceptance
