"""Losses of a small step that become another loss as the step shrinks: the error, and the power of the step that it falls with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.theorems.base import Measured, Theorem
from ebmpipe.theorems.examples import Waves, points

#: ε, in data units, and the event shapes that a limit is measured at.
STEPS = 0.4 * 2.0 ** (-np.arange(11) / 2)
SHAPES: tuple[tuple[int, ...], ...] = ((1,), (3,), (1, 2, 2))
#: Steps that a slope is fitted to, the smallest ones: the larger ones are there to be seen to bend.
FITTED = 5

#: (energy, x, step) -> (n,).
Loss = Callable[[Energy, Tensor, float], Tensor]
Steps = Sequence[float] | np.ndarray


def named(shape: Sequence[int]) -> str:
    """``1x2x2``."""
    return "x".join(map(str, shape))


def gradients(shape: Sequence[int], loss: Loss, steps: Steps) -> np.ndarray:
    """The gradient of the mean loss in all weights of the example, a row for each step."""
    energy, x = Waves(shape), points(shape)
    weights, rows = list(energy.parameters()), []
    for step in steps:
        found = torch.autograd.grad(loss(energy, x, float(step)).mean(), weights, allow_unused=True)
        rows.append([torch.zeros_like(w).flatten() if g is None else g.flatten() for w, g in zip(weights, found, strict=True)])
    return torch.stack([torch.cat(row) for row in rows]).numpy()


def values(shape: Sequence[int], loss: Loss, steps: Steps) -> np.ndarray:
    """The loss at every point of the example, a row for each step."""
    energy, x = Waves(shape), points(shape)
    return torch.stack([loss(energy, x, float(step)).detach() for step in steps]).numpy()


def fitted_slope(steps: np.ndarray, errors: np.ndarray) -> float:
    """The slope of log error against log step at the smallest steps."""
    order = np.argsort(steps)[:FITTED]
    return float(np.polyfit(np.log(steps[order]), np.log(errors[order]), 1)[0])


class Limit(Theorem):
    """loss(ε) = constant + leading(ε) + remainder, where the leading term is another method's objective times a power of ε.

    Compared are gradients of the mean in the weights, which is what training follows: an error is the largest difference of a coordinate,
    over the largest coordinate of the leading term's gradient. Of a theorem about the remainder it is over that at ε = 1, so that it falls
    as the remainder does. Values are compared point by point in the same way.

    Attributes:
        order: the power of ε that the error falls with.
        constant: of the loss, in nats; None where only gradients agree.
    """

    order: ClassVar[int]
    constant: ClassVar[float | None] = None

    @abstractmethod
    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        """The loss at ``x`` (n, *event), shape (n,)."""

    @abstractmethod
    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        """What it comes to for small steps, shape (n,)."""

    def measure(self) -> Measured:
        arrays, numbers = {"steps": STEPS}, {"order": float(self.order)}
        for shape in SHAPES:
            for kind, errors in self.errors(shape).items():
                arrays[f"{kind}_{named(shape)}"] = errors
                numbers[f"slope_{kind}_{named(shape)}"] = fitted_slope(STEPS, errors)
        return Measured(arrays, numbers)

    def errors(self, shape: Sequence[int]) -> dict[str, np.ndarray]:
        """Errors at every step: of the ``gradient``, and of the ``value`` where the constant is known."""
        found = {"gradient": self.compared(gradients(shape, self.loss, STEPS), shape, self.leading, gradients)}
        if self.constant is not None:
            found["value"] = self.compared(values(shape, self.loss, STEPS) - self.constant, shape, self.leading, values)
        return found

    def compared(
        self,
        found: np.ndarray,
        shape: Sequence[int],
        leading: Loss,
        of: Callable[[Sequence[int], Loss, Steps], np.ndarray] = gradients,
    ) -> np.ndarray:
        """Errors of what was found at `STEPS`, `gradients` or `values` as ``of`` says, against a leading term."""
        expected = of(shape, leading, STEPS)
        unit = of(shape, leading, [1.0]) if self.panel == "remainders" else expected
        return np.asarray(np.abs(found - expected).max(axis=1) / np.abs(unit).max(axis=1))
