"""Four concentric rings."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.base import Density

_RADII = np.array([1.0, 2.0, 3.0, 4.0])


class Rings(Density):
    """Circles of radius 1, 2, 3 and 4 with equal mass and isotropic noise 0.1 (the rings of Grathwohl et al. 2019, scaled by 4/3).

    A circle of radius R blurred by N(0, s² I) has density exp(-(r² + R²) / 2s²) I₀(rR/s²) / 2πs² at distance r from the centre.
    """

    name = "rings"
    revision = 1
    title = "Rings"
    source = "formula, after Grathwohl et al. 2019"
    noise = 0.1
    reach = 5.0
    entropy_method = "midpoint rule over the distance from the centre"

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A ring, a uniform angle, then the noise."""
        radius, angle = rng.choice(_RADII, size=n), 2 * np.pi * rng.random(n)
        circle = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(circle + self.noise * rng.standard_normal((n, 2)))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Closed form."""
        return self._log_radial(np.hypot(*np.asarray(x, dtype=np.float64).T))

    def score(self, x: np.ndarray) -> np.ndarray:
        """Closed form: along the radius, each ring's (R I₁(rR/s²)/I₀(rR/s²) - r) / s², weighted by its share of the density."""
        from scipy.special import i0e, i1e

        x = np.asarray(x, dtype=np.float64)
        r = np.hypot(*x.T)
        log_rings, scaled = self._log_rings(r), r[:, None] * _RADII / self.noise**2
        share = np.exp(log_rings - np.logaddexp.reduce(log_rings, axis=1)[:, None])
        outwards = ((share * _RADII * i1e(scaled) / i0e(scaled)).sum(axis=1) - r) / self.noise**2
        return np.asarray(outwards[:, None] * np.divide(x, r[:, None], out=np.zeros_like(x), where=r[:, None] > 0))

    def entropy(self) -> float:
        """-∫ p log p 2πr dr in nats, to 1e-9."""
        step = self.noise / 20
        r = np.arange(step / 2, self.reach, step)
        log_p = self._log_radial(r)
        return float(-(np.exp(log_p) * log_p * 2 * np.pi * r).sum() * step)

    def _log_radial(self, r: np.ndarray) -> np.ndarray:
        """Log-density on the plane at distance ``r`` (n,) from the centre."""
        return np.asarray(np.logaddexp.reduce(self._log_rings(r), axis=1) - np.log(len(_RADII) * 2 * np.pi * self.noise**2))

    def _log_rings(self, r: np.ndarray) -> np.ndarray:
        """What each ring adds to the density at distance ``r`` (n,) from the centre, in logarithms up to a constant, (n, rings)."""
        from scipy.special import i0e

        # i0e(z) = exp(-z) I₀(z), which completes the square in the exponent and never overflows.
        scaled = r[:, None] / self.noise
        return np.asarray(-0.5 * (scaled - _RADII / self.noise) ** 2 + np.log(i0e(scaled * _RADII / self.noise)))
