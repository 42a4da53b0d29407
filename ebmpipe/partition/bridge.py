"""The geometric path from a law that is known to one whose log Z is sought."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ebmpipe.energies import Energy, Law, support_of, value_and_gradient
from ebmpipe.samplers.reflection import reflected

if TYPE_CHECKING:
    from ebmpipe.samplers.base import Kernel


class Point(NamedTuple):
    """Positions and what both ends of a path are there.

    Attributes:
        x: positions, (n, *event).
        start: E of the law at β = 0, (n,).
        end: E of the law at β = 1, (n,).
        start_slope: its input gradient, (n, *event).
        end_slope: likewise.
    """

    x: Tensor
    start: Tensor
    end: Tensor
    start_slope: Tensor
    end_slope: Tensor

    @property
    def excess(self) -> Tensor:
        """E₁ - E₀, (n,) float64: minus the derivative of the log density in β."""
        return self.end.double() - self.start.double()

    def at(self, beta: float) -> tuple[Tensor, Tensor]:
        """E_β and its input gradient. At the ends only that end counts, even where the other is infinite."""
        if beta == 0:
            return self.start, self.start_slope
        if beta == 1:
            return self.end, self.end_slope
        return torch.lerp(self.start, self.end, beta), torch.lerp(self.start_slope, self.end_slope, beta)

    def rows(self, index: Tensor) -> Point:
        """Those of the positions ``index`` (m,)."""
        return Point(*(part[index] for part in self))


class Bridge:
    """E_β = (1 - β) E₀ + β E₁ between a normalised law and an energy (Gelman & Meng 1998, §2; Neal 2001, eq. 3).

    On a box both ends are continued by their mirror images, as `ebmpipe.samplers.run` does.

    Args:
        base: the law at β = 0, with log Z = 0.
        energy: E₁, (n, *event) -> (n,).

    Raises:
        ValueError: if they live on different supports: of what the base never reaches, no weight knows.
    """

    def __init__(self, base: Law, energy: Energy) -> None:
        if base.support != support_of(energy):
            raise ValueError(
                f"the energy lives on {support_of(energy) or 'the whole space'} and the base on {base.support or 'the whole space'}: "
                "an annealing path needs a base on the support of its energy"
            )
        self.base = base
        self._start, self.box = reflected(base)
        self._end, _ = reflected(energy)

    def point(self, x: Tensor) -> Point:
        """Both ends at ``x`` (n, *event); one gradient of E₁ for each."""
        end, end_slope = value_and_gradient(self._end, x)
        start, start_slope = value_and_gradient(self._start, x)
        return Point(x, start, end, start_slope, end_slope)

    def at(self, beta: float, known: Point | None = None) -> Step:
        """E_β, as a kernel takes it."""
        return Step(self, beta, known)

    def move(self, point: Point, beta: float, kernel: Kernel, generator: torch.Generator) -> tuple[Point, float]:
        """One transition of every chain that leaves exp(-E_β) as it is; both ends where it led, and the mean acceptance probability.

        It costs the kernel's gradients and one where it led, which serves the next weight and the next transition alike.
        """
        energy = self.at(beta, point)
        state, info = kernel.step(energy, kernel.init(energy, point.x), generator)
        return self.point(state.x), float(info.accept_prob.mean())


class Step:
    """One energy of a path.

    Args:
        bridge: the path.
        beta: where on it.
        known: both ends at positions that are known already, which are then not evaluated again.
    """

    def __init__(self, bridge: Bridge, beta: float, known: Point | None = None) -> None:
        self.bridge, self.beta, self.known = bridge, beta, known

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E_β (n,) and its input gradient at ``x`` (n, *event)."""
        point = self.known if self.known is not None and x is self.known.x else self.bridge.point(x)
        return point.at(self.beta)

    def __call__(self, x: Tensor) -> Tensor:
        return self.value_and_grad(x)[0]

    def grad(self, x: Tensor) -> Tensor:
        """Its input gradient."""
        return self.value_and_grad(x)[1]
