"""Hamiltonian dynamics of unit mass, in discrete time."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energies import Energy, gradient, value_and_gradient


def kinetic(momentum: Tensor) -> Tensor:
    """|p|²/2 of momenta p (n, *event), summed over every axis of the event, shape (n,), in nats."""
    return momentum.flatten(1).square().sum(1) / 2


def leapfrog(
    energy: Energy, x: Tensor, momentum: Tensor, slope: Tensor, step_size: float, steps: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Leapfrog steps of H(x, p) = E(x) + |p|²/2: half a kick, a drift, half a kick (Duane et al. 1987; Neal 2011, eq. 2.28-2.30).

    The map is volume-preserving and, once momenta are negated, its own inverse; H is kept up to O(ε²). Adjoining half kicks are
    one, so every step takes one gradient; E itself is evaluated at the last point only.

    Args:
        energy: E, (n, *event) -> (n,).
        x: positions (n, *event).
        momentum: p, same shape.
        slope: ∇E(x), same shape.
        step_size: ε, in data units.
        steps: how many, at least one.

    Returns:
        Position, momentum, energy (n,) and gradient where the trajectories end; new tensors.
    """
    momentum = momentum.add(slope, alpha=-step_size / 2)
    for _ in range(steps - 1):
        # Never in place: an energy may return the very tensor that it was given as its gradient.
        x = x.add(momentum, alpha=step_size)
        momentum.add_(gradient(energy, x), alpha=-step_size)
    x = x.add(momentum, alpha=step_size)
    value, slope = value_and_gradient(energy, x)
    return x, momentum.add_(slope, alpha=-step_size / 2), value, slope
