"""Energies of what was not observed, given what was: any kernel that samples p ∝ exp(-E) samples these as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ebmpipe.energies import Energy, gradient, support_of, value_and_gradient

if TYPE_CHECKING:
    from ebmpipe.supports import Box


def for_rows(given: Tensor, rows: int) -> Tensor:
    """``given`` (n, *event), once for each of ``rows`` chains: chain i belongs to observation i modulo n.

    Kernels that hold several replicas of all chains, as parallel tempering does, stack them in this order.

    Raises:
        ValueError: if the chains are not a multiple of the observations, as where a kernel moves some of them alone.
    """
    if rows % len(given):
        raise ValueError(
            f"{rows} chains are not a multiple of {len(given)} observations: give one for all, or take a kernel that moves all together"
        )
    return given if rows == len(given) else given.repeat(rows // len(given), *[1] * (given.dim() - 1))


class Observed:
    """E(x) + |y - x|²/2s²: the posterior energy of x given y = x + s z, z standard normal, where E is that of x.

    If E is the energy of data smoothed by noise σ, then x is the smoothed example, and what is known of it from y, the clean example
    with noise τ > σ, is exactly this with s² = τ² - σ²: the noise of y is that of x and what is missing, independent of all before.

    Args:
        energy: E, (n, *event) -> (n,).
        y: observations (m, *event); chain i belongs to observation i modulo m.
        s: standard deviation of the noise between x and y, in data units.

    Raises:
        ValueError: if s is not positive.
    """

    def __init__(self, energy: Energy, y: Tensor, s: float) -> None:
        if not s > 0:
            raise ValueError(f"the noise of an observation must be positive, got {s}")
        self.energy, self.y, self.s = energy, y, s

    @property
    def support(self) -> Box | None:
        """That of E."""
        return support_of(self.energy)

    def _residual(self, x: Tensor) -> Tensor:
        return x - for_rows(self.y, len(x))

    def _misfit(self, residual: Tensor) -> Tensor:
        return residual.flatten(1).square().sum(1) / (2 * self.s**2)

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(x) + self._misfit(self._residual(x))

    def grad(self, x: Tensor) -> Tensor:
        """The input gradient, shape of ``x``."""
        return gradient(self.energy, x) + self._residual(x) / self.s**2

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.energy, x)
        residual = self._residual(x)
        return value + self._misfit(residual), slope + residual / self.s**2


class Masked:
    """E as a function of the coordinates that are missing, the others being held: the conditional law of the former given the latter.

    Args:
        energy: E, (n, *event) -> (n,).
        known: events (m, *event) whose coordinates are held where they are not missing; chain i belongs to event i modulo m.
        missing: (*event) bool, which coordinates are free; k of them.

    Raises:
        ValueError: if none is missing, or the mask has another shape than an event.
    """

    def __init__(self, energy: Energy, known: Tensor, missing: Tensor) -> None:
        if missing.shape != known.shape[1:] or not missing.any():
            raise ValueError(f"a mask of shape {tuple(missing.shape)} must mark at least one coordinate of events {tuple(known.shape[1:])}")
        self.energy, self.known = energy, known
        self.places = missing.to(known.device).flatten().nonzero().squeeze(1)

    @property
    def support(self) -> Box | None:
        """That of E: a box holds every coordinate alike."""
        return support_of(self.energy)

    def part(self, x: Tensor) -> Tensor:
        """The missing coordinates (n, k) of events (n, *event)."""
        return x.flatten(1)[:, self.places]

    def whole(self, part: Tensor) -> Tensor:
        """Events (n, *event) with ``part`` (n, k) in the missing places."""
        known = for_rows(self.known, len(part))
        return known.flatten(1).to(part.dtype).index_copy(1, self.places, part).view(known.shape)

    def __call__(self, part: Tensor) -> Tensor:
        return self.energy(self.whole(part))

    def grad(self, part: Tensor) -> Tensor:
        """The gradient in the missing coordinates, (n, k)."""
        return self.part(gradient(self.energy, self.whole(part)))

    def value_and_grad(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.energy, self.whole(part))
        return value, self.part(slope)
