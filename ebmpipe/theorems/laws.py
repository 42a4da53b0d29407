"""Mixtures of Gaussians on the line, their divergences by quadrature, and what the heat flow and Langevin dynamics make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from ebmpipe.derivatives import slope_and_laplacian
from ebmpipe.methods.score_matching import explicit_score_matching

#: Part of its largest value that a solution of the Fokker-Planck equation is not known to, and beyond which it is taken for zero.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Mixture:
    """Σ wₖ N(mₖ, vₖ) on the line.

    Attributes:
        weights: wₖ, which sum to one.
        means: mₖ.
        variances: vₖ; a tensor where they depend on something that is differentiated.
    """

    weights: Sequence[float]
    means: Sequence[float]
    variances: Sequence[float] | Tensor

    def widened(self, time: float | Tensor) -> Mixture:
        """Convolved with N(0, t): after time t of the heat flow ∂q = ½ q''."""
        return Mixture(self.weights, self.means, torch.as_tensor(self.variances, dtype=torch.float64) + time)

    def log_density(self, x: Tensor) -> Tensor:
        """log q, shape (n,), at ``x`` (n, 1)."""
        w, m, v = (torch.as_tensor(values, dtype=torch.float64) for values in (self.weights, self.means, self.variances))
        parts = w.log() - (x - m).square() / (2 * v) - (2 * math.pi * v).log() / 2
        return torch.logsumexp(parts, dim=1)

    def energy(self, x: Tensor) -> Tensor:
        """-log q, shape (n,), at ``x`` (n, 1)."""
        return -self.log_density(x)

    def score(self, x: Tensor) -> Tensor:
        """(log q)', shape (n, 1), at ``x`` (n, 1)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (result,) = torch.autograd.grad(self.log_density(x).sum(), x)
        return result


def grid(low: float, high: float, count: int) -> tuple[Tensor, float]:
    """Equidistant points (n, 1) and their distance: for smooth functions that vanish at both ends, as here, their sum is exact."""
    x = torch.linspace(low, high, count, dtype=torch.float64)
    return x[:, None], (high - low) / (count - 1)


def divergence(q: Mixture, p: Mixture, x: Tensor, h: float) -> Tensor:
    """KL(q ‖ p) in nats."""
    log_q, log_p = q.log_density(x), p.log_density(x)
    return (log_q.exp() * (log_q - log_p)).sum() * h


def fisher_divergence(q: Tensor, score: Tensor, p: Mixture, x: Tensor, h: float) -> float:
    """D_F(q ‖ p) = ½ E_q (difference of scores)²: explicit score matching of p's energy.

    Args:
        q: density at ``x``, (n,).
        score: its score, (n, 1).
        p: the model.
        x: points (n, 1).
        h: their distance.
    """
    return float((q * explicit_score_matching(p.energy, x, score).detach()).sum() * h)


class Langevin:
    """The law of dx = -E' dt + √2 dW, E = -log p, on a grid.

    With q = √p ψ the Fokker-Planck equation is ∂ψ = ψ'' - Vψ, V = (√p)''/√p. Second derivatives at the points are those of the sine
    cardinal interpolant, exact to all digits for what is smooth and vanishes at the ends; the matrix is symmetric and is diagonalised once.

    Args:
        p: the law that it leaves unchanged.
        x: points (n, 1).
        h: their distance.
    """

    def __init__(self, p: Mixture, x: Tensor, h: float) -> None:
        self.p, self.x, self.h = p, x, h
        n = len(x)
        offset = np.subtract.outer(np.arange(n), np.arange(n))
        sign = np.where(offset % 2 == 0, 1.0, -1.0)
        safe = np.where(offset == 0, 1, offset)
        self.first = np.where(offset == 0, 0.0, sign / safe) / h
        second = np.where(offset == 0, -(math.pi**2) / 3, -2 * sign / safe**2) / h**2
        self.root = np.exp(p.log_density(x).numpy() / 2)
        _, slope, curvature = (values.detach() for values in slope_and_laplacian(p.log_density, x))
        self.half_slope = slope.flatten().numpy() / 2
        self.operator = second - np.diag(curvature.numpy() / 2 + self.half_slope**2)
        self.rates, self.modes = eigh(self.operator)

    def at(self, start: Mixture, time: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Density (n,), score (n,), and dKL(q_t ‖ p)/dt = ∫ ∂q log(q/p), after ``time`` from ``start``."""
        psi = np.exp(start.log_density(self.x).numpy()) / self.root
        psi = self.modes @ (np.exp(self.rates * time) * (self.modes.T @ psi))
        # Far out it is no more than the rounding of where it is large.
        there = psi > ROUNDING * psi.max()
        q, sound = np.where(there, self.root * psi, 0.0), np.where(there, psi, self.root)
        change = self.root * (self.operator @ psi)
        rate = float((change * np.log(sound / self.root)).sum() * self.h)
        return q, np.where(there, self.first @ psi / sound, self.half_slope) + self.half_slope, rate
