"""Ratio matching."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.methods.base import Reference
from ebmpipe.methods.single_flips import SingleFlips


def squared_miss(changes: Tensor) -> Tensor:
    """(1 - p(x_i | all others))² = σ(E(x) - E(x^i))², shape of ``changes``.

    Args:
        changes: E(x^i) - E(x), x^i being x with coordinate i flipped, in nats.
    """
    return (-changes).sigmoid().square()


class RatioMatching(SingleFlips):
    """Matches the ratios p(x) / p(x^i) of neighbouring states, squashed to [0, 1]: score matching for binary data.

    The mean squared difference of the model's and the data's squashed ratios is, up to a constant, that of Σ_i (1 - p(x_i | x_-i))²:
    no log Z and no sampling. Consistent as pseudolikelihood is, whose logarithm it replaces by a square, so that no example costs more
    than one per coordinate.
    """

    name = "ratio_matching"
    revision = 1
    title = "Ratio matching"
    references = (Reference("A. Hyvärinen", "Some extensions of score matching", 2007),)
    loss = staticmethod(squared_miss)
