"""One energy for data smoothed by Gaussian noise of every level."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ebmpipe.energies import BASE_WIDTH, gradient, value_and_gradient
from ebmpipe.spec import DataSpec

#: How much of log(σ/s) a network sees, beside inputs of unit variance: so much that levels differ, so little that they resemble each other.
SHARE = 0.25


def geometric(widest: float, narrowest: float, count: int) -> list[float]:
    """``count`` ≥ 1 levels of noise that fall from ``widest`` to ``narrowest`` > 0 by a constant factor; a single one is the narrowest.

    Raises:
        ValueError: if the widest is not the larger.
    """
    if not widest >= narrowest > 0:
        raise ValueError(f"levels of noise fall from the widest to the narrowest: {widest:g} is less than {narrowest:g}")
    ratio = widest / narrowest
    return [narrowest * ratio ** (1 - level / (count - 1)) for level in range(count - 1)] + [narrowest]


def with_level(spec: DataSpec) -> DataSpec:
    """The events that a network sees which is told the level: with a coordinate more, or on images with a channel more."""
    return replace(spec, shape=(spec.shape[0] + 1, *spec.shape[1:]))


class NoisyEnergies(nn.Module):
    """E(x, σ) = f((x - m)/√(s² + σ²), ¼ log(σ/s)) - log q_σ(x): for every σ > 0 the energy of data with noise N(0, σ²I).

    m and s are mean and standard deviation of the data's coordinates, so that f sees inputs of unit variance at every level, with the level
    as one more coordinate, or on images as one more channel. The base q_σ = N(m, (BASE_WIDTH s)² + σ²) is that of `BasedEnergy` with the
    same noise, and as there log Z(σ) = 0 for f = 0.

    Args:
        network: f, over events of `with_level`.
        spec: the data.
    """

    def __init__(self, network: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.network = network
        self.shape, self.mean, self.std = spec.shape, spec.mean, spec.std

    def _levels(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """σ of each example of ``x``, (n, 1, ...)."""
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        return levels.view(-1, *[1] * (x.dim() - 1))

    def _input(self, x: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees, and the scale that x was divided by, (n, 1, ...)."""
        scale = (self.std**2 + levels.square()).sqrt()
        told = (SHARE * (levels / self.std).log()).expand(-1, 1, *x.shape[2:])
        return torch.cat([(x - self.mean) / scale, told], dim=1), scale

    def base(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """-log q_σ(x) in nats, shape (n,)."""
        variance = (BASE_WIDTH * self.std) ** 2 + self._levels(x, sigma).square()
        return ((x - self.mean).square() / (2 * variance) + (2 * math.pi * variance).log() / 2).flatten(1).sum(1)

    def _base_gradient(self, x: Tensor, levels: Tensor) -> Tensor:
        return (x - self.mean) / ((BASE_WIDTH * self.std) ** 2 + levels.square())

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E(x, σ) in nats, shape (n,).

        Args:
            x: (n, *event).
            sigma: σ > 0 of each, (n,), or one of all, in units of x.
        """
        value: Tensor = self.network(self._input(x, self._levels(x, sigma))[0])
        return value + self.base(x, sigma)

    @torch.no_grad()
    def grad(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """∇ₓE(x, σ), shape of ``x``; the network's own if it offers one."""
        levels = self._levels(x, sigma)
        seen, scale = self._input(x, levels)
        return gradient(self.network, seen)[:, : self.shape[0]] / scale + self._base_gradient(x, levels)

    @torch.no_grad()
    def value_and_grad(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """Both."""
        levels = self._levels(x, sigma)
        seen, scale = self._input(x, levels)
        value, slope = value_and_gradient(self.network, seen)
        return value + self.base(x, sigma), slope[:, : self.shape[0]] / scale + self._base_gradient(x, levels)

    def at(self, sigma: Tensor | float) -> AtLevel:
        """The energy of one level, or of one for each point, (n,)."""
        return AtLevel(self, sigma)


class AtLevel:
    """E(x, σ) at one σ, as energies are, with what `ebmpipe.samplers.AnnealedLangevin` widens it by.

    Args:
        energies: E.
        sigma: σ > 0, in units of x; or of each of n points, (n,), which are then the only ones that it takes.
    """

    def __init__(self, energies: NoisyEnergies, sigma: Tensor | float) -> None:
        self.energies, self.sigma = energies, sigma

    def __call__(self, x: Tensor) -> Tensor:
        value: Tensor = self.energies(x, self.sigma)
        return value

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient, shape of ``x``."""
        return self.energies.grad(x, self.sigma)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.energies.value_and_grad(x, self.sigma)

    def at_width(self, width: float) -> AtLevel:
        """The energy of noise ``width`` times as wide."""
        return AtLevel(self.energies, self.sigma * width)
