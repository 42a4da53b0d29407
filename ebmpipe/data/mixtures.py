"""Gaussian mixtures with one common spread: the density of points, and of curves, blurred by noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np

from ebmpipe.data.base import Density

#: Points of one block of `log_mixture` times its components: 2^20 doubles stay in a core's cache.
BLOCK = 2**20


def log_mixture(x: np.ndarray, centres: np.ndarray, weights: np.ndarray, sd: float) -> np.ndarray:
    """log Σ_k weights_k N(x; centres_k, sd² I) in nats.

    Args:
        x: points, (n, 2).
        centres: (k, 2).
        weights: positive, (k,).
        sd: standard deviation of every component in each coordinate.

    Returns:
        (n,) float64; finite for every finite ``x``, however far away.
    """
    out = np.empty(len(x))
    for part, block, top, terms in _blocks(x, centres, weights, sd):
        out[part] = top + np.log(terms.sum(axis=1)) - 0.5 * (block**2).sum(axis=1)
    return out


def mixture_score(x: np.ndarray, centres: np.ndarray, weights: np.ndarray, sd: float) -> np.ndarray:
    """The gradient of `log_mixture` in ``x``, (n, 2): the way to the centres' mean, weighted by posterior probability, over sd²."""
    out = np.empty((len(x), 2))
    for part, block, _, terms in _blocks(x, centres, weights, sd):
        out[part] = (terms @ (centres / sd) / terms.sum(axis=1)[:, None] - block) / sd
    return out


def _blocks(
    x: np.ndarray, centres: np.ndarray, weights: np.ndarray, sd: float
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Of `log_mixture`, block by block: the rows, x/sd there, and the logarithm and multiples of what all components are to be times.

    Component k of row i, apart from the factor exp(-|x_i/sd|²/2) that all share, is exp(top_i) terms_ik.
    """
    x = np.asarray(x, dtype=np.float64) / sd
    centres = centres / sd
    # |x - c|² is expanded, so that the work is one matrix product and one exp; the coordinates are small enough for it.
    offset = np.log(weights) - 0.5 * (centres**2).sum(axis=1) - np.log(2 * np.pi * sd**2)
    rows = max(1, BLOCK // len(centres))
    for begin in range(0, len(x), rows):
        part = slice(begin, begin + rows)
        block = x[part]
        terms = block @ centres.T
        terms += offset
        top = terms.max(axis=1)
        terms -= top[:, None]
        np.exp(terms, out=terms)
        yield part, block, top, terms


class BlurredCurve(Density):
    """A random point of a curve plus isotropic Gaussian noise: p(x) = ∫ w(t) N(x; c(t), noise² I) dt.

    The integral is a composite Gauss-Legendre rule over ``panels`` equal pieces of the curve, that is, a mixture with one component
    per node. Farther out than `log_density_error` promises the log-density stays finite and falls off as it should, but the rule no
    longer resolves the integrand: the error is below 0.1 nats where log p is -1000.

    Attributes:
        noise: standard deviation of the noise in each coordinate.
        start, stop: range of the curve's parameter t.
        mirrored: whether half of the mass lies on the curve's point reflection -c(t).
        panels: pieces of the rule; about three ``noise`` of arc length each.
    """

    log_density_error = 1e-9
    noise: ClassVar[float]
    start: ClassVar[float]
    stop: ClassVar[float]
    mirrored: ClassVar[bool] = False
    panels: ClassVar[int]

    @abstractmethod
    def curve(self, t: np.ndarray) -> np.ndarray:
        """Points c(t) of the curve, (n, 2), for ``t`` (n,)."""

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """The parameter below which a share ``u`` of the curve's mass lies; uniform in t unless overridden together with `weight`."""
        return self.start + (self.stop - self.start) * u

    def weight(self, t: np.ndarray) -> np.ndarray:
        """Density w(t) of the parameter, the derivative of the inverse of `quantile`."""
        return np.full_like(t, 1 / (self.stop - self.start))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform share of the mass, its point on the curve, then the noise."""
        x = self.curve(self.quantile(rng.random(n)))
        if self.mirrored:
            x *= rng.choice([-1.0, 1.0], size=(n, 1))
        return x + self.noise * rng.standard_normal((n, 2))

    def nodes(self, panels: int) -> tuple[np.ndarray, np.ndarray]:
        """Centres (k, 2) and weights (k,) of the rule with ``panels`` pieces; the weights sum to one up to its error."""
        points, rule = np.polynomial.legendre.leggauss(10)
        edges = np.linspace(self.start, self.stop, panels + 1)
        half = 0.5 * (edges[1] - edges[0])
        t = ((edges[:-1] + half)[:, None] + half * points).ravel()
        centres, weights = self.curve(t), self.weight(t) * np.tile(half * rule, panels)
        if self.mirrored:
            return np.concatenate([centres, -centres]), np.tile(weights / 2, 2)
        return centres, weights

    @cached_property
    def _rule(self) -> tuple[np.ndarray, np.ndarray]:
        return self.nodes(self.panels)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """The mixture over the rule's nodes."""
        return log_mixture(x, *self._rule, self.noise)

    def score(self, x: np.ndarray) -> np.ndarray:
        """That of the mixture over the rule's nodes."""
        return mixture_score(x, *self._rule, self.noise)
