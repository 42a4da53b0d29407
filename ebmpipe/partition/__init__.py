"""log Z in any dimension: annealed importance sampling both ways, sequential Monte Carlo, importance sampling."""

from ebmpipe.partition.annealing import backward, forward
from ebmpipe.partition.bridge import Bridge
from ebmpipe.partition.estimates import Estimate, importance
from ebmpipe.partition.ladder import Ladder, NoPath, adapted_ladder

#: Bumped when the same energy and stream of randomness would give other estimates.
REVISION = 1

__all__ = ["Bridge", "Estimate", "Ladder", "NoPath", "adapted_ladder", "backward", "forward", "importance"]
