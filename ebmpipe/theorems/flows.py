"""How fast two laws come together while both, or one of them, are moved."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebmpipe.theorems.base import Measured, Theorem
from ebmpipe.theorems.laws import Mixture

#: Times that the curves are drawn at.
TIMES = np.linspace(0.0, 1.2, 61)
#: The two laws on the line: of one mode, and a mixture of two that is not even.
START = Mixture((0.3, 0.7), (-0.5, 0.9), (0.2, 0.25))
TARGET = Mixture((0.65, 0.35), (-1.1, 1.2), (0.35, 0.5))
#: The grid that they are integrated on.
LOW, HIGH, COUNT = -7.0, 7.0, 281
#: The two Gaussians: means and covariances of the moved law and of the other.
START_MEAN, TARGET_MEAN = (1.0, -0.5, 0.4), (0.0, 0.3, 0.0)
START_SPREAD, TARGET_SPREAD = ((1.0, 0.0, 0.0), (0.4, 0.6, 0.0), (-0.3, 0.2, 0.8)), ((0.9, 0.0, 0.0), (-0.2, 1.1, 0.0), (0.3, 0.1, 0.7))


class Gaussian(NamedTuple):
    """N(mean, covariance)."""

    mean: Tensor
    covariance: Tensor


def gaussians() -> tuple[Gaussian, Gaussian]:
    """The moved one and the other, in three dimensions."""
    made = []
    for mean, root in ((START_MEAN, START_SPREAD), (TARGET_MEAN, TARGET_SPREAD)):
        spread = torch.tensor(root, dtype=torch.float64)
        made.append(Gaussian(torch.tensor(mean, dtype=torch.float64), spread @ spread.T))
    return made[0], made[1]


def gaussian_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q ‖ p) in nats."""
    precision, apart = torch.linalg.inv(p.covariance), q.mean - p.mean
    trace = (precision * q.covariance).sum() - len(apart)
    result: Tensor = (trace + apart @ precision @ apart + torch.logdet(p.covariance) - torch.logdet(q.covariance)) / 2
    return result


def gaussian_fisher_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """D_F(q ‖ p) = ½ E_q ‖difference of scores‖²."""
    precision, apart = torch.linalg.inv(p.covariance), q.mean - p.mean
    difference = precision - torch.linalg.inv(q.covariance)
    result: Tensor = ((difference @ q.covariance @ difference).trace() + (precision @ apart).square().sum()) / 2
    return result


class Curve(NamedTuple):
    """KL(q_t ‖ p_t), its derivative in time, and D_F(q_t ‖ p_t), each at every time."""

    kl: np.ndarray
    rate: np.ndarray
    fisher: np.ndarray


class Flow(Theorem):
    """dKL/dt = -factor D_F, for Gaussians in closed form and for mixtures.

    Attributes:
        factor: how many times D_F.
    """

    panel = "flows"
    methods = ("score_matching",)
    factor: ClassVar[int]

    @abstractmethod
    def of_mixtures(self, times: np.ndarray) -> Curve:
        """The curve of `START` and `TARGET`."""

    @abstractmethod
    def moved(self, q: Gaussian, p: Gaussian, time: Tensor) -> tuple[Gaussian, Gaussian]:
        """What becomes of two Gaussians."""

    def of_gaussians(self, times: np.ndarray) -> Curve:
        """The curve of two Gaussians; the derivative is taken through the closed form."""
        rows = []
        for time in times:
            t = torch.tensor(float(time), dtype=torch.float64, requires_grad=True)
            q, p = self.moved(*gaussians(), t)
            kl = gaussian_divergence(q, p)
            (rate,) = torch.autograd.grad(kl, t)
            rows.append((float(kl.detach()), float(rate), float(gaussian_fisher_divergence(q, p).detach())))
        return Curve(*np.array(rows).T)

    def measure(self) -> Measured:
        arrays, numbers = {"times": TIMES}, {"factor": float(self.factor)}
        for law, curve in (("mixtures", self.of_mixtures(TIMES)), ("gaussians", self.of_gaussians(TIMES))):
            arrays |= {f"{key}_{law}": values for key, values in curve._asdict().items()}
            # KL may be at rest where D_F is nothing, so that the error is relative to the largest.
            numbers[f"error_{law}"] = float(np.abs(curve.rate + self.factor * curve.fisher).max() / curve.fisher.max())
        return Measured(arrays, numbers)
