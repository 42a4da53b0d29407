"""Pseudolikelihood as what dropping coordinates takes of the divergence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ebmpipe.flips import value_and_flips
from ebmpipe.methods.pseudolikelihood import minus_log_conditional
from ebmpipe.theorems.contractions import Contraction, Pair, gibbs_matrices, law, state_divergence, without


class CoordinateContraction(Contraction):
    """Forgetting x_i takes of KL what the conditional of x_i given all others differs by: the chain rule.

    Over all coordinates that is the excess of pseudolikelihood. Drawing x_i afresh from the model's conditional takes the same, as Φp is
    then p and Φq has the model's conditional: the sum over i of contrastive divergence with one coordinate drawn is pseudolikelihood too.
    """

    name = "coordinate_contraction"
    revision = 1
    title = "coordinates dropped"
    statement = "Σᵢ [KL(q ‖ p) − KL(q₋ᵢ ‖ p₋ᵢ)] = Σᵢ E_q[log q(xᵢ | x₋ᵢ) − log p(xᵢ | x₋ᵢ)]"
    source = "Besag 1975; Lyu 2011"
    methods = ("pseudolikelihood",)
    legend: ClassVar[Mapping[str, str]] = {"dropped": "each coordinate dropped", "redrawn": "each drawn afresh"}

    def of(self, pair: Pair) -> dict[str, tuple[Tensor, Tensor]]:
        q, p = law(pair.truth, pair.x), law(pair.model, pair.x)
        model, truth = (minus_log_conditional(value_and_flips(energy, pair.x)[1]).sum(1) for energy in (pair.model, pair.truth))
        excess, kl = (q * (model - truth)).sum(), state_divergence(q, p)
        redrawn = gibbs_matrices(pair.model, pair.x)
        dropped = torch.stack([kl - state_divergence(without(q, i), without(p, i)) for i in range(len(redrawn))])
        afresh = torch.stack([kl - state_divergence(q @ matrix, p) for matrix in redrawn])
        return {"dropped": (dropped.sum(), excess), "redrawn": (afresh.sum(), excess)}
