"""Dual averaging of a kernel's step size."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.samplers.base import Kernel, State, Summary, run
from ebmpipe.samplers.reflection import reflected

K = TypeVar("K", bound=Kernel)

#: Constants of Hoffman & Gelman (2014, §3.2): pull towards μ, weight of the first steps, decay of the weights of the average.
GAMMA, T_0, KAPPA = 0.05, 10, 0.75
#: The step size stays within this factor of the one to start from: a flat or a broken energy would drive it to infinity or to zero.
LARGEST_FACTOR = 1e4


def check_adaptable(kernel: Kernel) -> None:
    """Refuse a kernel whose acceptance says nothing about its step size.

    Raises:
        ValueError: if it accepts everything.
    """
    if not kernel.adjusted:
        raise ValueError(
            f"the step size of {kernel.name} cannot be adapted, as it accepts everything: take an adjusted kernel "
            "such as mala, hmc or nuts, or set the step size yourself"
        )


class DualAveraging:
    """Nesterov's dual averaging of log ε, so that the mean acceptance comes to a target (Hoffman & Gelman 2014, eq. 6).

    With H_t the target minus the acceptance at step t: log ε_{t+1} = μ - (√t / γ) (H_1 + … + H_t) / (t + t₀), with μ = log(10 ε₀), and
    log ε̄_{t+1} = t^-κ log ε_{t+1} + (1 - t^-κ) log ε̄_t, which converges.

    Args:
        step_size: ε₀.
        target: acceptance to come to.
        largest: bound of the step size.

    Attributes:
        step_size: ε_t, to take next.
        average: ε̄_t, to keep in the end.
    """

    def __init__(self, step_size: float, target: float, largest: float = math.inf) -> None:
        self._log_bounds = math.log(step_size / LARGEST_FACTOR), math.log(min(step_size * LARGEST_FACTOR, largest))
        self._target, self._log_mu = target, math.log(10 * step_size)
        self._steps, self._sum, self._log_average = 0, 0.0, 0.0
        self.step_size = self.average = min(step_size, largest)

    def update(self, acceptance: float) -> None:
        """Take the mean acceptance of a step made with ``step_size`` into account."""
        self._steps += 1
        self._sum += self._target - acceptance
        log_step = self._log_mu - math.sqrt(self._steps) / GAMMA * self._sum / (self._steps + T_0)
        log_step = min(max(log_step, self._log_bounds[0]), self._log_bounds[1])
        weight = self._steps**-KAPPA
        self._log_average = weight * log_step + (1 - weight) * self._log_average
        self.step_size, self.average = math.exp(log_step), math.exp(self._log_average)


@torch.no_grad()
def adapt(
    kernel: K, energy: Energy, x: Tensor | State, steps: int, generator: torch.Generator, target: float | None = None
) -> tuple[K, Tensor, Summary]:
    """Find the step size at which a kernel's mean acceptance over all chains and steps comes to ``target``, by dual averaging.

    The chains that it is found on are no samples: while their step size depends on their past, no law is stationary. The acceptance must
    fall with ε. On a Gaussian of a few dimensions that of HMC does not: it is 1 again wherever a trajectory is half a period long.

    Args:
        kernel: an adjusted kernel, with the step size to start from; it stays as it is.
        energy: as `run` takes it.
        x: where chains start, as `run` takes it.
        steps: steps of each chain, at least one; a hundred or more are needed to come near.
        generator: the source of all randomness.
        target: acceptance in (0, 1); the kernel's ``target_acceptance`` if None.

    Returns:
        The kernel with the averaged step size, the last positions and a summary of the whole, whose acceptance is that under all
        step sizes tried. In a box, no step size is longer than its edge.

    Raises:
        ValueError: if the kernel accepts everything, no target is known or in (0, 1), or there is not one step.
    """
    check_adaptable(kernel)
    target = kernel.target_acceptance if target is None else target
    if target is None or not 0 < target < 1:
        raise ValueError(f"adapting {kernel.name} needs a target acceptance between 0 and 1, got {target}")
    if steps < 1:
        raise ValueError(f"adaptation needs at least one step, got {steps}")
    _, box = reflected(energy)
    search = DualAveraging(kernel.step_size, target, box.width if box else math.inf)
    x, start = run(kernel, energy, x, 0, generator)
    taken = [start]
    for _ in range(steps):
        x, step = run(kernel.with_step_size(search.step_size), energy, taken[-1].state, 1, generator)
        search.update(step.acceptance)
        taken.append(step)
    swaps = [step.swaps for step in taken if step.swaps is not None]
    whole = replace(
        taken[-1],
        steps=steps,
        gradient_evaluations=sum(step.gradient_evaluations for step in taken),
        acceptance=fmean(step.acceptance for step in taken[1:]),
        gradient_norm=fmean(step.gradient_norm for step in taken[1:]),
        swaps=fmean(swaps) if swaps else None,
    )
    return kernel.with_step_size(search.average), x, whole
