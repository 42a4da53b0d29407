"""Minimum probability flow."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ebmpipe.methods.base import ByKind, Reference
from ebmpipe.methods.neighbours import Neighbours


def probability_flow(here: Tensor, there: Tensor) -> Tensor:
    """exp(½ (E(x) - E(x'))), the rate at which probability leaves x for x', shape of ``here``.

    Under rates of this form the law p is stationary. Its mean over data and neighbours is, up to a constant, how fast the
    Kullback-Leibler divergence from the data grows where data start to flow to p (Sohl-Dickstein, Battaglino & DeWeese 2011).

    Args:
        here: E at data, in nats.
        there: E at a neighbour of each, drawn from a symmetric law.
    """
    return ((here - there) / 2).exp()


class MinimumProbabilityFlow(Neighbours):
    """Lets as little probability as possible flow from the data to their neighbours under dynamics that would carry it to the model.

    The neighbour of an example is its copy with Gaussian noise, and the loss is the mean of exp(½ (E(x) - E(x'))): consistent for noise of
    any size, with no log Z. For little noise of width ε it is 1 + (ε²/4) J_SM, score matching. Of binary data, which it was invented for,
    the neighbour has one coordinate flipped, any with the same probability.
    """

    name = "minimum_probability_flow"
    revision = 1
    title = "Minimum probability flow"
    kinds = frozenset({"density", "vectors", "images", "binary"})
    references = (
        Reference("J. Sohl-Dickstein, P. Battaglino, M. R. DeWeese", "Minimum probability flow learning", 2011, "0906.4779"),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    # Of a pixel that hardly any example has set the energy grows surer with every update; one that has it then counts for millions.
    settings_by_kind: ClassVar[ByKind] = {**Neighbours.settings_by_kind, "binary": {"optimiser": {"gradient_clip": 1.0}}}
    loss = staticmethod(probability_flow)
