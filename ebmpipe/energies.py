"""Energies as functions: gradients by hand or by autograd, freezing while sampling, temperature, and the laws that they tilt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ebmpipe.derivatives import by_forward_over_reverse, slope_and_laplacian
from ebmpipe.flips import value_and_flips
from ebmpipe.supports import Box

if TYPE_CHECKING:
    from ebmpipe.data.base import KnownLaw
    from ebmpipe.spec import DataSpec

#: Any callable (n, *event) -> (n,) in nats, with p proportional to exp(-E).
Energy = Callable[[Tensor], Tensor]

#: Points per call of an energy on arrays: large enough to be efficient, small enough for any memory.
CHUNK = 16384

#: Width of the Gaussian base in units of the data's standard deviation: broad enough to cover the data, so that the
#: network only ever removes mass, and narrow enough that noise drawn from it overlaps them.
BASE_WIDTH = 1.5

#: Where images live in model space.
IMAGE_BOX = Box(-1.0, 1.0)


def value_and_gradient(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """E(x), shape (n,), and its input gradient, shape of ``x``, both detached.

    Uses the energy's own ``value_and_grad`` when it offers one, else autograd.

    Raises:
        ValueError: if autograd is used and the energy has not one value for each example.
    """
    offered = getattr(energy, "value_and_grad", None)
    if offered is not None:
        value, gradient_ = offered(x)
        return value, gradient_
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = energy(x)
        if value.shape != x.shape[:1]:
            raise ValueError(
                f"an energy must map (n, *event) to (n,), one number for each example; {tuple(x.shape)} it maps to {tuple(value.shape)}"
            )
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

    @property
    def support(self) -> Box | None:
        """That of the energy."""
        return support_of(self.energy)

    def __call__(self, x: Tensor) -> Tensor:
        self.x, self.seen = x, self.energy(x)
        return self.seen

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `ebmpipe.derivatives.slope_and_laplacian` has it, of the energy."""
        value, slope, laplacian = slope_and_laplacian(self.energy, x)
        self.x, self.seen = x, value
        return value, slope, laplacian


class TrueEnergy:
    """-log p of a known law, with its input gradient where it is a density, as energies are."""

    def __init__(self, density: KnownLaw) -> None:
        self.density = density

    def __call__(self, x: Tensor) -> Tensor:
        # A trajectory may leave for where doubles overflow; no kernel enters what is not finite there.
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(-self.density.log_density(x.detach().double().cpu().numpy())).to(x)

    def grad(self, x: Tensor) -> Tensor:
        """-∇ log p, shape of ``x``; taken for zero where the density has edges. Kernels that accept or reject stay exact with any."""
        if self.density.edges:
            return torch.zeros_like(x)
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(-self.density.score(x.detach().double().cpu().numpy())).to(x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return self(x), self.grad(x)


class Tempered:
    """E/T, the energy of the law that chains of a kernel with temperature T follow: p^(1/T), where E is that of p.

    Args:
        energy: E.
        temperature: T > 0.
    """

    def __init__(self, energy: Energy, temperature: float) -> None:
        self.energy, self.temperature = energy, temperature

    @property
    def support(self) -> Box | None:
        """That of E."""
        return support_of(self.energy)

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(x) / self.temperature

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient, shape of ``x``."""
        return gradient(self.energy, x) / self.temperature

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.energy, x)
        return value / self.temperature, slope / self.temperature


def tempered(energy: Energy, temperature: float) -> Energy:
    """``energy`` divided by ``temperature``; the same object where that is 1."""
    return energy if temperature == 1 else Tempered(energy, temperature)


def support_of(energy: object) -> Box | None:
    """The box that an energy declares as its ``support``; None if it is defined everywhere, as all are that declare none."""
    box = getattr(energy, "support", None)
    assert box is None or isinstance(box, Box)
    return box


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold ``module`` fixed while it is sampled: parameters need no gradient and layers are in evaluation mode.

    Weights that are functions of others, as under spectral normalisation, are computed once; nothing may update them inside.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    training = [m for m in module.modules() if m.training]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        for child in training:
            child.training = False
        with parametrize.cached():
            yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for child in training:
            child.training = True


class Law(nn.Module, ABC):
    """A normalised density over events that can be sampled: base of energies, start of chains, noise of contrastive estimation.

    Args:
        shape: event shape.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    @property
    def support(self) -> Box | None:
        """The box outside of which the density is zero; None if it is positive everywhere."""
        return None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Minus the log-density at ``x`` (n, *event), in nats, shape (n,)."""

    @abstractmethod
    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient, shape of ``x``."""

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.forward(x), self.grad(x)

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `ebmpipe.derivatives.slope_and_laplacian` has it, of minus the log-density."""
        return by_forward_over_reverse(self.forward, x)

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` samples, (n, *event) float32, on the generator's device."""


class GaussianLaw(Law):
    """An isotropic Gaussian N(mean, std² I) over events; its support is the whole space.

    Args:
        shape: event shape.
        mean: mean of every coordinate.
        std: standard deviation of every coordinate.
    """

    def __init__(self, shape: tuple[int, ...], mean: float, std: float) -> None:
        super().__init__(shape)
        self.mean, self.std = mean, std
        self.log_normaliser = math.prod(shape) * math.log(std * math.sqrt(2 * math.pi))

    @classmethod
    def of(cls, spec: DataSpec, width: float = BASE_WIDTH) -> GaussianLaw:
        """The Gaussian with the data's mean and ``width`` times its standard deviation."""
        return cls(spec.shape, spec.mean, width * spec.std)

    def forward(self, x: Tensor) -> Tensor:
        """-log N(x; mean, std²) in nats, shape (n,)."""
        return (x - self.mean).flatten(1).square().sum(1) / (2 * self.std**2) + self.log_normaliser

    def grad(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std**2

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.forward(x), self.grad(x), x.new_full((len(x),), math.prod(self.shape) / self.std**2)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, *self.shape, generator=generator, device=generator.device)
        return z.mul_(self.std).add_(self.mean)


class UniformLaw(Law):
    """The uniform law on a box: E is the log of its volume inside and +inf outside.

    Args:
        shape: event shape.
        box: the same interval in every coordinate.

    Attributes:
        mean: mean of every coordinate.
        std: standard deviation of every coordinate.
    """

    def __init__(self, shape: tuple[int, ...], box: Box) -> None:
        super().__init__(shape)
        self.box, self.mean, self.std = box, (box.low + box.high) / 2, box.width / math.sqrt(12)
        self.log_volume = math.prod(shape) * math.log(box.width)

    @property
    def support(self) -> Box:
        return self.box

    def forward(self, x: Tensor) -> Tensor:
        # A constant to autograd: nothing of the infinity outside reaches a gradient.
        return x.new_full((len(x),), self.log_volume).masked_fill(~self.box.contains(x), torch.inf)

    def grad(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.forward(x), self.grad(x), x.new_zeros(len(x))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        u = torch.rand(n, *self.shape, generator=generator, device=generator.device)
        return self.box.nearest(u.mul_(self.box.width).add_(self.box.low))


class UniformStates(Law):
    """The uniform law on the 2^D states whose coordinates are all -1 or 1: E is D log 2 at every one of them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.log_states = math.prod(shape) * math.log(2)

    def forward(self, x: Tensor) -> Tensor:
        """D log 2 in nats, (n,); whether ``x`` are states is not asked."""
        return x.new_full((len(x),), self.log_states)

    def grad(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.forward(x), self.grad(x), x.new_zeros(len(x))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return 2.0 * torch.randint(2, (n, *self.shape), generator=generator, device=generator.device) - 1.0


def base_law(spec: DataSpec, support: Literal["space", "box"]) -> Law:
    """The law that energies of these data tilt: a broad Gaussian in the whole space, or the uniform one on the box of images.

    The whole space of binary data is that of their states, on which it is the uniform law.

    Raises:
        ValueError: if the data are no images and hence have no box.
    """
    if support == "space":
        return UniformStates(spec.shape) if spec.kind == "binary" else GaussianLaw.of(spec)
    if spec.kind != "images":
        raise ValueError(f"support: box is the range [-1, 1] of images, and {spec.name} is {spec.kind}: leave it at `support: space` there")
    return UniformLaw(spec.shape, IMAGE_BOX)


class BasedEnergy(nn.Module):
    """E(x) = f((x - m) / s) - T log q(x), with f a network, m, s the data's mean and deviation, and q the base law.

    Sampled at temperature T it is the law exp(-f/T) q: the base stays what it is. log Z = 0 where f = 0. On a Gaussian base,
    N(m, (BASE_WIDTH s)² I), it is proper whenever f grows slower than quadratically; on the uniform law of a box always, and +inf
    outside of it, and on states. Those a network sees as they are, m = 0 and s = 1.

    Args:
        network: f, (n, *event) -> (n,).
        spec: the data, for event shape, m and s.
        base: q; that of the whole space if None.
        temperature: T, at which it is to be sampled.
    """

    def __init__(self, network: nn.Module, spec: DataSpec, base: Law | None = None, temperature: float = 1.0) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature
        self.base = base or base_law(spec, "space")
        self.mean, self.std = spec.standardisation

    @property
    def support(self) -> Box | None:
        """The box that it is defined on; None if that is the whole space."""
        return self.base.support

    def forward(self, x: Tensor) -> Tensor:
        """E(x) in nats, shape (n,)."""
        value: Tensor = self.network((x - self.mean) / self.std) + self.temperature * self.base(x)
        return value

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E(x) in nats (n,), ∇E(x), shape of ``x``, and ΔE(x) (n,), all as functions of the weights; by the network's own way, if any."""
        value, slope, laplacian = slope_and_laplacian(self.network, (x - self.mean) / self.std)
        base_value, base_slope, base_laplacian = self.base.slope_and_laplacian(x)
        return (
            value + self.temperature * base_value,
            slope / self.std + self.temperature * base_slope,
            laplacian / self.std**2 + self.temperature * base_laplacian,
        )

    def value_and_flips(self, x: Tensor, sites: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `ebmpipe.flips.value_and_flips` has them; by the network's own way, if it has one, as the base gives all states the same."""
        if not hasattr(self.network, "value_and_flips"):
            return value_and_flips(self.forward, x, sites)
        value, changes = value_and_flips(self.network, x, sites)
        return value + self.temperature * self.base(x), changes

    def with_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E(x) in nats, (n,), and the logits (n, classes) that it is made of, in one pass of a network that has them.

        p(y | x) is their softmax, of which the base and the temperature, that of the law of x, are no part.
        """
        value, logits = self.network.with_logits((x - self.mean) / self.std)  # type: ignore[operator]
        return value + self.temperature * self.base(x), logits

    @torch.no_grad()
    def grad(self, x: Tensor) -> Tensor:
        """The input gradient, shape of ``x``; the network's own if it offers one."""
        return gradient(self.network, (x - self.mean) / self.std) / self.std + self.temperature * self.base.grad(x)

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E(x) and its input gradient."""
        value, slope = value_and_gradient(self.network, (x - self.mean) / self.std)
        return value + self.temperature * self.base(x), slope / self.std + self.temperature * self.base.grad(x)
