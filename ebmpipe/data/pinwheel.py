"""A pinwheel of five curved arms."""

from __future__ import annotations

import numpy as np

from ebmpipe.data.base import Density

_ARMS = 5
_RATE = 0.25
_SCALE = 2.0
#: Mean and standard deviations, radial and tangential, of an arm before it is turned and scaled.
_CENTRE = np.array([1.0, 0.0])
_SD = np.array([0.3, 0.1])
#: Farther out the shear would overflow; there the density is zero to double precision whatever the angle.
_FAR = 50.0


def _turn(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """``x`` (..., 2) turned anticlockwise by ``angle`` (...)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]], axis=-1)


def _unsheared(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x`` (n, 2), turned back by its shear and to every arm in turn, (arms, n, 2), and the angles that takes, (arms, n)."""
    angles = -_RATE * np.exp(np.minimum(np.hypot(*x.T), _FAR)) - 2 * np.pi / _ARMS * np.arange(_ARMS)[:, None]
    return _turn(x, angles), angles


class Pinwheel(Density):
    """Five elongated Gaussians, sheared into curved arms: each point is turned by 0.25 exp(r), r its distance from the centre.

    Johnson et al. 2016 turn a point by the exponential of its *radial coordinate*. Turning it by its distance from the centre
    looks the same and preserves area (in polar coordinates (r, φ) ↦ (r, φ + a(r)) has Jacobian determinant one), so that the
    density is the Gaussian mixture's at the point turned back: a closed form.
    """

    name = "pinwheel"
    revision = 1
    title = "Pinwheel"
    source = "formula, after Johnson et al. 2016"
    reach = 6.5
    step = 0.025
    modes = _SCALE * _turn(_CENTRE, 2 * np.pi / _ARMS * np.arange(_ARMS) + _RATE * np.exp(1.0))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A Gaussian, turned to its arm and sheared."""
        x = _CENTRE + _SD * rng.standard_normal((n, 2))
        arm = 2 * np.pi / _ARMS * rng.integers(_ARMS, size=n)
        return _SCALE * _turn(x, arm + _RATE * np.exp(np.hypot(*x.T)))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Closed form: turned back to every arm in turn."""
        back = _unsheared(np.asarray(x, dtype=np.float64) / _SCALE)[0]
        log_z = np.log(_ARMS * 2 * np.pi * _SD.prod() * _SCALE**2)
        return np.asarray(np.logaddexp.reduce([-0.5 * (((y - _CENTRE) / _SD) ** 2).sum(axis=-1) for y in back]) - log_z)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Closed form: each arm's score, turned forward, and how the angle that it was turned by changes with the distance."""
        x = np.asarray(x, dtype=np.float64) / _SCALE
        back, angles = _unsheared(x)
        log_arms = -0.5 * (((back - _CENTRE) / _SD) ** 2).sum(axis=-1)
        share = np.exp(log_arms - np.logaddexp.reduce(log_arms))
        slopes = (_CENTRE - back) / _SD**2
        turned = (share[..., None] * _turn(slopes, -angles)).sum(axis=0)
        # d/dα of y turned by α is (-y₂, y₁); α = -0.25 exp(r) for every arm, and dr/dx = x / r.
        twist = (share * (slopes[..., 1] * back[..., 0] - slopes[..., 0] * back[..., 1])).sum(axis=0)
        r = np.hypot(*x.T)
        away = np.divide(x, r[:, None], out=np.zeros_like(x), where=r[:, None] > 0)
        return np.asarray((turned - (twist * _RATE * np.exp(np.minimum(r, _FAR)))[:, None] * away) / _SCALE)
