"""Brackets of log Z as annealing would have found them."""

from ebmpipe.partition.bracket import Bracket
from ebmpipe.partition.estimates import Estimate


def bracket_about(log_z: float, gap: float = 0.0, error: float = 0.01, exact: bool = False) -> Bracket:
    """A bracket whose two estimates lie ``gap`` apart about ``log_z``, each with a standard error."""

    def estimate(value: float) -> Estimate:
        return Estimate(value, error, 0.9, (value,) * 4, 1000, 0.8)

    return Bracket(
        estimate(log_z - gap / 2), estimate(log_z + gap / 2), estimate(log_z), estimate(log_z), 50, exact, "the Gaussian base", 0.02
    )
