"""Likelihoods on the plane at the temperature that suits the energy best: is it only the scale of E that is wrong?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.metrics.estimators.cells import Grid, log_sum, nodes_of, tiles
from ebmpipe.metrics.estimators.hints import Hints, LogDensity, evaluate
from ebmpipe.metrics.estimators.partition import log_partition
from ebmpipe.metrics.quadrature import box_about, mean_and_error
from ebmpipe.spec import DataSpec

#: log β is fitted to this, and log Z, which is flat there in the temperature's stead, far better.
PRECISION = 1e-3

#: β is sought within these factors of 1 / (standard deviation of E over the data): at its best value their product is of order one.
BRACKET = (1e-3, 1e3)

#: Most integrals, each on a grid refined for the temperature that the one before suggests. Usually two are enough.
ROUNDS = 8

#: The first guess is made on a grid of so many cells per side of the box about the data, and so many rings around it.
CELLS, RINGS = 32, 5


def first_grid(log_unnormalised: LogDensity, centre: np.ndarray, half_width: float) -> Grid:
    """An even grid in the box about the data, which resolves what varies on the scale of the data, and coarser ones around it."""
    parts = [tiles(centre, half_width, CELLS)]
    for _ in range(RINGS):
        ring = tiles(centre, 2 * half_width, 8)
        parts.append(ring[(np.abs(ring[:, :2] - centre) > half_width).any(axis=1)])
        half_width *= 2
    cells = np.concatenate(parts)
    return Grid.of(cells, evaluate(log_unnormalised, nodes_of(cells)))


class Moments:
    """Mean and variance of E under exp(-βE)/Z(β), for every β, by the nodes of one grid.

    Args:
        grid: nodes with values of -scale·E.
        scale: the β that the grid was made for.
    """

    def __init__(self, grid: Grid, scale: float = 1.0) -> None:
        finite = np.isfinite(grid.values)
        self.energies, self.log_weights = -grid.values[finite] / scale, grid.log_weights[finite]

    def __call__(self, beta: float) -> tuple[float, float]:
        """Mean and variance of E, in nats and nats²."""
        logs = self.log_weights - beta * self.energies
        weights = np.exp(logs - log_sum(logs))
        mean = float(weights @ self.energies)
        return mean, float(weights @ (self.energies - mean) ** 2)


def best_beta(moments: Moments, mean_energy: float, spread: float) -> float:
    """The β that minimises β·mean_energy + log Z(β). It is convex: where ``mean_energy`` is the mean of E under exp(-βE)/Z(β).

    Args:
        moments: of E under the model.
        mean_energy: mean of E over the data, in nats.
        spread: its standard deviation.

    Raises:
        NotAvailable: if there is none in the bracket.
    """
    from scipy.optimize import brentq

    low, high = (float(np.log(factor / spread)) for factor in BRACKET)

    def excess(log_beta: float) -> float:
        return mean_energy - moments(float(np.exp(log_beta)))[0]

    if not excess(low) < 0 < excess(high):
        side = "high" if excess(low) >= 0 else "low"
        raise NotAvailable(f"no temperature is the best: the likelihood of the validation data still rises at the {side}est one tried")
    return float(np.exp(brentq(excess, low, high, xtol=PRECISION / 100)))


class BestTemperature(Metric):
    """The likelihood of exp(-E/T)/Z(T) with T fitted to the validation split.

    An energy that was learned at another temperature than it is read at, or under clipped gradients, may still have the right shape.
    """

    name = "temperature"
    revision = 1
    ids: ClassVar[dict[str, MetricInfo]] = {
        "nll_best_temperature": MetricInfo("nats", "lower", "nll of exp(-E/T) with T fitted to the validation split, log Z by quadrature"),
        "best_temperature": MetricInfo("ratio", None, "that T, relative to the temperature that the energy is read at; 1 is right"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind in ("density", "vectors") and spec.shape == (2,)

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        energy = evaluation.log_unnormalised
        if energy is None:
            raise NotAvailable("the run has no energy")
        if len(evaluation.validation) < 2:
            raise NotAvailable("there are no validation data to fit the temperature to")
        on_validation, on_test = (-evaluate(energy, split) for split in (evaluation.validation, evaluation.test))
        for name, energies in (("validation", on_validation), ("test", on_test)):
            if lost := int((~np.isfinite(energies)).sum()):
                raise NotAvailable(f"the model gives zero density to {lost} of {len(energies)} {name} examples")
        mean, spread = float(on_validation.mean()), float(on_validation.std())
        if not spread > 0:
            raise NotAvailable("the energy is the same at all validation data")
        box = box_about(evaluation.test)
        hints = self.hints(energy, evaluation, on_validation, on_test)
        beta = best_beta(Moments(first_grid(energy, *box)), mean, spread)
        for _ in range(ROUNDS):
            log_z, info = log_partition(lambda x, b=beta: b * energy(x), *box, Hints(hints.points, beta * hints.values))  # type: ignore[misc]
            moments, fitted_for = Moments(info.grid, beta), beta
            beta = best_beta(moments, mean, spread)
            if abs(np.log(beta / fitted_for)) < PRECISION:
                break
        else:
            raise NotAvailable(f"the best temperature still moved after {ROUNDS} integrals")
        nll, error = mean_and_error(fitted_for * on_test + log_z)
        yield self.measured("nll_best_temperature", nll, len(on_test), error)
        # β solves mean(E) = E_β[E], whose derivative in β is minus the variance of E under the model.
        relative = spread / np.sqrt(len(on_validation)) / (fitted_for * moments(fitted_for)[1])
        yield self.measured("best_temperature", 1 / fitted_for, len(on_validation), relative / fitted_for)

    @staticmethod
    def hints(energy: LogDensity, evaluation: Evaluation, on_validation: np.ndarray, on_test: np.ndarray) -> Hints:
        """Data and the run's samples, with -E there."""
        found = [s[:5_000] for s in evaluation.samples.values() if s.ndim == 2 and np.isfinite(s).all()]
        points = np.concatenate(found) if found else np.empty((0, 2))
        at_samples = evaluate(energy, points) if found else np.empty(0)
        return Hints(
            np.concatenate([evaluation.validation, evaluation.test, points]), np.concatenate([-on_validation, -on_test, at_samples])
        )
