"""The Ising model on a small torus, sampled exactly."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from ebmpipe.data.base import KnownLaw
from ebmpipe.states import all_states


class Ising(KnownLaw):
    """Spins ±1 on a square grid that closes on itself: log p(x) = J Σ x_i x_j over neighbours + h Σ x_i - log Z.

    There are so few spins that all states are enumerated: log Z, the entropy and the samples are exact. J lies below the coupling at
    which an infinite grid orders, ½ log(1 + √2) ≈ 0.44 (Onsager 1944), so that both signs and all pairs are seen.

    Attributes:
        side: spins per side, at least 3, so that a spin has four different neighbours.
        coupling: J, in nats.
        field: h, in nats.
    """

    name = "ising"
    revision = 1
    title = "Ising 4x4"
    kind = "binary"
    shape = (1, 4, 4)
    source = "formula, after Ising 1925"
    transformations = "Independent exact samples, by their probabilities among all states."
    entropy_method = "sum over all states"
    duplicates = None  # a few thousand states make up most of every split
    side: ClassVar[int] = 4
    coupling: ClassVar[float] = 0.3
    field: ClassVar[float] = 0.1

    @property
    def couplings(self) -> np.ndarray:
        """W (D, D), symmetric with zero diagonal, and such that log p(x) = ½ xᵀWx + bᵀx - log Z."""
        places = np.arange(self.side**2).reshape(self.side, self.side)
        found = np.zeros((self.side**2, self.side**2))
        for axis in (0, 1):
            here, there = places.ravel(), np.roll(places, 1, axis).ravel()
            found[here, there] = found[there, here] = self.coupling
        return found

    @property
    def fields(self) -> np.ndarray:
        """b (D,), in nats."""
        return np.full(self.side**2, self.field)

    def log_weight(self, x: np.ndarray) -> np.ndarray:
        """½ xᵀWx + bᵀx of ``x`` (n, *shape), (n,) float64."""
        flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
        return np.asarray(((flat @ self.couplings) / 2 * flat).sum(axis=1) + flat @ self.fields)

    @cached_property
    def _log_p(self) -> np.ndarray:
        weights = self.log_weight(all_states(self.shape))
        return np.asarray(weights - logsumexp(weights))

    @cached_property
    def log_z(self) -> float:
        """log Z in nats, with respect to the counting measure on states."""
        return float(logsumexp(self.log_weight(all_states(self.shape))))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.choice(len(self._log_p), size=n, p=np.exp(self._log_p))
        return all_states(self.shape)[chosen].astype(np.float64)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of states; elsewhere the same polynomial."""
        return self.log_weight(x) - self.log_z

    def entropy(self) -> float:
        return float(-(np.exp(self._log_p) * self._log_p).sum())
