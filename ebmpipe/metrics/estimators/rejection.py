"""Exact samples of a density on the plane, by rejection under an envelope that is constant on the cells of a grid."""

from __future__ import annotations

import numpy as np

from ebmpipe.metrics.estimators.hints import LogDensity, evaluate

#: Cells per side of the square that holds the density, and how much of the mass may lie outside of it.
CELLS, OUTSIDE = 600, 1e-4
#: How far, in nats, the envelope is above the largest of a cell's nine nodes; it is raised where that is found to be too little.
MARGIN, HIGHEST = 0.05, 5.0
#: The square is doubled at most so often.
DOUBLINGS = 6


class NotEnclosed(ValueError):
    """Raised where no square or envelope holds the density."""


class Envelope:
    """exp(bound) on each cell of a grid over the square [-half_width, half_width]², above exp(log_density) there.

    Args:
        log_density: (n, 2) -> (n,) nats.
        half_width: of the square.
    """

    def __init__(self, log_density: LogDensity, half_width: float) -> None:
        self.log_density = log_density
        ticks = np.linspace(-half_width, half_width, 2 * CELLS + 1)
        self.side, self.low = 2 * half_width / CELLS, -half_width
        values = evaluate(log_density, np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)).reshape(len(ticks), len(ticks))
        # Every other tick is the middle of a cell: nine nodes to each.
        parts = [slice(first, first + 2 * CELLS - 1, 2) for first in range(3)]
        self.highest = np.maximum.reduce([values[row, column] for row in parts for column in parts]).ravel()
        #: log of the mass in the square, by the midpoint rule.
        self.log_mass = float(np.logaddexp.reduce(values[1::2, 1::2].ravel()) + 2 * np.log(self.side))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent exact samples of the density within the square, (n, 2)."""
        margin = MARGIN
        while margin < HIGHEST:
            found = self._sampled(n, rng, margin)
            if found is not None:
                return found
            margin *= 2
        raise NotEnclosed("the density varies too much within the cells of the grid for its samples to be drawn by rejection")

    def _sampled(self, n: int, rng: np.random.Generator, margin: float) -> np.ndarray | None:
        """Samples, or None if somewhere the envelope was found to be below the density."""
        share = np.exp(self.highest - self.highest.max())
        share /= share.sum()
        kept: list[np.ndarray] = []
        while sum(map(len, kept)) < n:
            cells = rng.choice(len(share), size=n, p=share)
            corner = np.stack([cells % CELLS, cells // CELLS], axis=1)
            points = self.low + self.side * (corner + rng.random((n, 2)))
            excess = evaluate(self.log_density, points) - self.highest[cells] - margin
            if (excess > 0).any():
                return None
            kept.append(points[np.log(rng.random(n)) < excess])
        return np.concatenate(kept)[:n]


def envelope_of(log_density: LogDensity, half_width: float, log_z: float) -> Envelope:
    """An envelope on the smallest of some squares that holds the mass.

    Args:
        log_density: (n, 2) -> (n,) nats, of mass exp(``log_z``).
        half_width: of the first square to try.
        log_z: by quadrature.

    Raises:
        NotEnclosed: if none of them does.
    """
    for _ in range(DOUBLINGS):
        found = Envelope(log_density, half_width)
        if abs(found.log_mass - log_z) < OUTSIDE:
            return found
        half_width *= 1.5
    raise NotEnclosed(f"a square of half-width {half_width / 1.5:.3g} does not hold the density: samples cannot be drawn by rejection")
