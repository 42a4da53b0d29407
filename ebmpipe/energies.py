"""Energies as functions: gradients by hand or by autograd, freezing while sampling, and the Gaussian base."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ebmpipe.spec import DataSpec

#: Any callable (n, *event) -> (n,) in nats, with p proportional to exp(-E).
Energy = Callable[[Tensor], Tensor]

#: Points per call of an energy on arrays: large enough to be efficient, small enough for any memory.
CHUNK = 16384

#: Width of the Gaussian base in units of the data's standard deviation: broad enough to cover the data, so that the
#: network only ever removes mass, and narrow enough that noise drawn from it overlaps them.
BASE_WIDTH = 1.5


def value_and_gradient(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """E(x), shape (n,), and its input gradient, shape of ``x``, both detached.

    Uses the energy's own ``value_and_grad`` when it offers one, else autograd.
    """
    offered = getattr(energy, "value_and_grad", None)
    if offered is not None:
        value, gradient_ = offered(x)
        return value, gradient_
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = energy(x)
        (gradient_,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient_


def gradient(energy: Energy, x: Tensor) -> Tensor:
    """The input gradient of E at ``x`` (n, *event), detached; by hand when the energy offers ``grad``, else by autograd."""
    offered = getattr(energy, "grad", None)
    if offered is not None:
        result: Tensor = offered(x)
        return result
    return value_and_gradient(energy, x)[1]


def on_arrays(energy: Energy, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """``energy`` as a function of numpy arrays (n, *event) -> (n,) float64, evaluated in chunks in single precision."""

    @torch.no_grad()
    def evaluate(x: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(np.ascontiguousarray(x)).float()
        return torch.cat([energy(part.to(device)).double().cpu() for part in points.split(CHUNK)]).numpy()

    return evaluate


class Watched:
    """An energy that remembers the values it gave last: for losses that are made from gradients and never see E itself.

    Attributes:
        x: the points of the last call, (n, *event); empty before the first.
        seen: their energies, (n,).
    """

    def __init__(self, energy: Energy) -> None:
        self.energy = energy
        self.x = self.seen = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor:
        self.x, self.seen = x, self.energy(x)
        return self.seen


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold ``module`` fixed while it is sampled: parameters need no gradient and layers are in evaluation mode."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    training = [m for m in module.modules() if m.training]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        for child in training:
            child.training = False
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for child in training:
            child.training = True


class GaussianLaw(nn.Module):
    """An isotropic Gaussian N(mean, std² I) over events: base of energies, start of chains, noise of contrastive estimation.

    Args:
        shape: event shape.
        mean: mean of every coordinate.
        std: standard deviation of every coordinate.
    """

    def __init__(self, shape: tuple[int, ...], mean: float, std: float) -> None:
        super().__init__()
        self.shape, self.mean, self.std = shape, mean, std
        self.log_normaliser = math.prod(shape) * math.log(std * math.sqrt(2 * math.pi))

    @classmethod
    def of(cls, spec: DataSpec, width: float = BASE_WIDTH) -> GaussianLaw:
        """The Gaussian with the data's mean and ``width`` times its standard deviation."""
        return cls(spec.shape, spec.mean, width * spec.std)

    def forward(self, x: Tensor) -> Tensor:
        """-log N(x; mean, std²) in nats, shape (n,)."""
        return (x - self.mean).flatten(1).square().sum(1) / (2 * self.std**2) + self.log_normaliser

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient, shape of ``x``."""
        return (x - self.mean) / self.std**2

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.forward(x), self.grad(x)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` samples, (n, *event) float32, on the generator's device."""
        z = torch.randn(n, *self.shape, generator=generator, device=generator.device)
        return z.mul_(self.std).add_(self.mean)


class BasedEnergy(nn.Module):
    """E(x) = f((x - m) / s) - log N(x; m, (BASE_WIDTH s)²), with f a network and m, s the data's mean and deviation.

    Proper whenever f grows slower than quadratically; log Z = 0 where f = 0. Its support is the whole space.

    Args:
        network: f, (n, *event) -> (n,).
        spec: the data, for event shape, m and s.
    """

    def __init__(self, network: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.network = network
        self.base = GaussianLaw.of(spec)
        self.mean, self.std = spec.mean, spec.std

    def forward(self, x: Tensor) -> Tensor:
        """E(x) in nats, shape (n,)."""
        value: Tensor = self.network((x - self.mean) / self.std) + self.base(x)
        return value

    @torch.no_grad()
    def grad(self, x: Tensor) -> Tensor:
        """The input gradient, shape of ``x``; the network's own if it offers one."""
        return gradient(self.network, (x - self.mean) / self.std) / self.std + self.base.grad(x)

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E(x) and its input gradient."""
        value, slope = value_and_gradient(self.network, (x - self.mean) / self.std)
        return value + self.base(x), slope / self.std + self.base.grad(x)
