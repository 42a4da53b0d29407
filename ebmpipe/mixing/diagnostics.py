"""What chains say of their own mixing: split rank-normalised R-hat, effective sample sizes, autocorrelation, hops between modes.

R-hat and effective sample sizes are arviz-stats' implementation of Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

#: Quantiles whose indicator functions the effective sample size of the tails is of (Vehtari et al. 2021, §4.3).
TAILS = (0.05, 0.95)
#: Fewest draws of each chain that R-hat is defined for.
FEWEST = 4


@cache
def arviz() -> Any:
    """arviz-stats' functions of arrays; imported when they are called for, as they bring scipy's statistics along."""
    from arviz_stats.base.array import BaseArray

    return BaseArray()


def largest_rhat(chains: int, draws: int) -> float:
    """What stands for an R-hat that is infinite, or beyond this: √(chains × draws).

    Chains that never leave where they are have no variance within, and R-hat, a ratio to it, has no bound. A single draw among all that
    differs is the least evidence of movement that there can be, and its variance within is of the order of one part in as many draws:
    chains are too short to tell what lies beyond from infinity.
    """
    return float(np.sqrt(chains * draws))


def rhat(trace: np.ndarray) -> float:
    """Split rank-normalised R-hat, the greater of bulk and folded, of ``trace`` (chains, draws); at most `largest_rhat`.

    NaN of a trace that is constant over all chains: nothing there varies, and nothing can be said of it.
    """
    if np.ptp(trace) == 0:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(arviz().rhat(trace, chain_axis=0, draw_axis=1, method="rank"))
    largest = largest_rhat(*trace.shape)
    return largest if np.isnan(value) else min(value, largest)


def ess(trace: np.ndarray, method: str) -> float:
    """Effective sample size of ``trace`` (chains, draws): ``bulk``, ``tail`` or ``mean``; NaN of one that is constant over all chains.

    Chains that never move count as about one draw each, of wherever they started: R-hat says so, not this number.
    """
    if np.ptp(trace) == 0:
        return float("nan")
    options = {"prob": TAILS} if method == "tail" else {}
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(arviz().ess(trace, chain_axis=0, draw_axis=1, method=method, **options))


def autocorrelation(trace: np.ndarray) -> np.ndarray:
    """Autocorrelation of ``trace`` (chains, draws) at every lag, about the mean of all chains, (draws,); NaN if all is constant.

    ρ_t = 1 - (W - mean autocovariance at lag t) / V, with W the variance within chains and V that of all (Vehtari et al. 2021, eq. 10).
    Where chains disagree it does not decay to zero, as the mean of the chains' own autocorrelations does whatever they miss.
    """
    draws = trace.shape[1]
    covariance = arviz().autocov(np.asarray(trace, dtype=np.float64), axis=1).mean(axis=0)
    within = covariance[0] * draws / (draws - 1)
    whole = covariance[0] + (float(trace.mean(axis=1).var(ddof=1)) if len(trace) > 1 else 0.0)
    if not whole > 0:
        return np.full(draws, np.nan)
    rho = 1 - (within - covariance) / whole
    rho[0] = 1.0
    return np.asarray(rho)


def hops(labels: np.ndarray, count: int) -> np.ndarray:
    """How often each chain of ``labels`` (chains, draws) went from one of ``count`` modes to another, (chains,).

    A label that is none of them, in between or nowhere, is no mode: what comes back to where it was has not hopped.
    """
    valid = labels < count
    # The place of the last valid label up to each draw.
    last = np.maximum.accumulate(np.where(valid, np.arange(labels.shape[1]), -1), axis=1)
    before = last[:, :-1]
    previous = np.take_along_axis(labels, np.maximum(before, 0), axis=1)
    return np.asarray((valid[:, 1:] & (before >= 0) & (previous != labels[:, 1:])).sum(axis=1))


@dataclass(frozen=True)
class Diagnosis:
    """What draws say. Quantities are the D coordinates of x, then E, then one indicator for each mode or class, and of what is in none.

    Attributes:
        rhat: split rank-normalised R-hat of every quantity, (D + 1 + k,); NaN of what is constant over all chains.
        ess: bulk effective sample size of each, likewise.
        ess_tail: that of the tails, likewise.
        autocorrelation: of E and of the slowest coordinate, at lags of 0, 1, … draws, (2, lags).
        slowest: the coordinate with the smallest bulk effective sample size; -1 if all are constant.
        energy_ess: effective sample size of the mean of E.
    """

    rhat: np.ndarray
    ess: np.ndarray
    ess_tail: np.ndarray
    autocorrelation: np.ndarray
    slowest: int
    energy_ess: float


def quantities(x: np.ndarray, energy: np.ndarray, labels: np.ndarray | None, count: int) -> Iterator[np.ndarray]:
    """The traces (chains, draws) that mixing is judged by, in the order of `Diagnosis`."""
    for coordinate in range(x.shape[2]):
        yield x[:, :, coordinate]
    yield energy
    if labels is not None:
        for label in range(count + 1):
            yield (labels == label).astype(np.float64)


def diagnose(
    x: np.ndarray, energy: np.ndarray, labels: np.ndarray | None = None, count: int = 0, advance: Callable[[], None] = lambda: None
) -> Diagnosis:
    """Judge draws of chains.

    Args:
        x: positions (chains, draws, D).
        energy: E at them, (chains, draws).
        labels: the mode or class of each, (chains, draws) integers from 0; ``count`` is none. None where there are none to tell.
        count: number of modes or classes.
        advance: called after every quantity.

    Raises:
        ValueError: if there are fewer than two chains or `FEWEST` draws.
    """
    if x.shape[0] < 2 or x.shape[1] < FEWEST:
        raise ValueError(f"mixing is judged by two chains or more of at least {FEWEST} draws, not by {x.shape[0]} of {x.shape[1]}")
    found = []
    for trace in quantities(x, energy, labels, count):
        found.append((rhat(trace), ess(trace, "bulk"), ess(trace, "tail")))
        advance()
    rhats, bulk, tails = np.array(found).T
    dimension = x.shape[2]
    known = np.isfinite(bulk[:dimension])
    slowest = int(np.argmin(np.where(known, bulk[:dimension], np.inf))) if known.any() else -1
    slow = autocorrelation(x[:, :, slowest]) if slowest >= 0 else np.full(x.shape[1], np.nan)
    return Diagnosis(rhats, bulk, tails, np.stack([autocorrelation(energy), slow]), slowest, ess(energy, "mean"))
