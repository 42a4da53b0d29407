"""An energy at every state of a few binary coordinates."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ebmpipe.metrics.base import Evaluation, NotAvailable
from ebmpipe.spec import DataSpec
from ebmpipe.states import MOST, all_states

__all__ = ["few", "log_law", "walsh_couplings"]


def few(spec: DataSpec) -> bool:
    """Whether the data are states that can all be enumerated."""
    return spec.kind == "binary" and spec.dimension <= MOST


def log_law(evaluation: Evaluation) -> tuple[np.ndarray, float]:
    """log p of the run's energy at all states, (2^D,) in the order of `all_states`, and log Z = log Σ exp(-E) in nats; computed once.

    Raises:
        NotAvailable: if the run has no energy, or gives no state any probability.
    """
    if evaluation.log_unnormalised is None:
        raise NotAvailable("the run has no energy")
    if "enumerated/log_z" not in evaluation.cache:
        values = evaluation.log_unnormalised(all_states(evaluation.spec.shape))
        log_z = logsumexp(values)
        if not np.isfinite(log_z):
            raise NotAvailable("the model gives no state any probability")
        evaluation.cache["enumerated/log_p"], evaluation.cache["enumerated/log_z"] = values - log_z, float(log_z)
    return evaluation.cache["enumerated/log_p"], evaluation.cache["enumerated/log_z"]


def walsh_couplings(log_p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The couplings of pairs in any law of states: W_ij = 2^-D Σ_x log p(x) x_i x_j, (D, D), zero on the diagonal.

    They are the coefficients of x_i x_j where log p is written as a sum of products of coordinates, which are orthogonal. Of
    log p = ½ xᵀWx + bᵀx - log Z they are W.

    Args:
        log_p: log p at `all_states`, up to a constant, (2^D,).
        shape: event shape.
    """
    states = all_states(shape).reshape(len(log_p), -1).astype(np.float64)
    found = np.asarray((states * log_p[:, None]).T @ states / len(states))
    np.fill_diagonal(found, 0.0)
    return found
