"""Pseudolikelihood."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ebmpipe.methods.base import Reference
from ebmpipe.methods.single_flips import SingleFlips


def minus_log_conditional(changes: Tensor) -> Tensor:
    """-log p(x_i | all others) = softplus(E(x) - E(x^i)) in nats, shape of ``changes``.

    Args:
        changes: E(x^i) - E(x), x^i being x with coordinate i flipped, in nats.
    """
    return functional.softplus(-changes)


class Pseudolikelihood(SingleFlips):
    """Maximises the probability of each coordinate given all others: -Σ_i log p(x_i | x_-i), with no log Z and no sampling.

    Consistent: the truth minimises every term of the expectation, and as the D conditionals of a law that is nowhere zero determine it,
    nothing else minimises them all.
    """

    name = "pseudolikelihood"
    revision = 1
    title = "Pseudolikelihood"
    references = (
        Reference("J. Besag", "Statistical analysis of non-lattice data", 1975),
        Reference("A. Hyvärinen", "Consistency of pseudolikelihood estimation of fully visible Boltzmann machines", 2006),
    )
    loss = staticmethod(minus_log_conditional)
