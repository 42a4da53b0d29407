"""f-divergences in their variational form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

#: Names of `DIVERGENCES`.
Divergence = Literal["kl", "reverse_kl", "jensen_shannon", "squared_hellinger"]


class FDivergence(NamedTuple):
    """D_f(p, q) = E_q f(p/q), the largest value over h of E_p f'(exp h) - E_q f*(f'(exp h)), found at h = log p/q (Nguyen et al. 2010).

    Attributes:
        on_data: f'(exp h), of h in nats, any shape.
        on_model: f*(f'(exp h)) = exp(h) f'(exp h) - f(exp h).
    """

    on_data: Callable[[Tensor], Tensor]
    on_model: Callable[[Tensor], Tensor]


DIVERGENCES: dict[Divergence, FDivergence] = {
    # f(r) = r log r
    "kl": FDivergence(lambda h: 1 + h, torch.exp),
    # f(r) = -log r
    "reverse_kl": FDivergence(lambda h: -(-h).exp(), lambda h: h - 1),
    # f(r) = r log r - (1 + r) log ((1 + r)/2): twice the Jensen-Shannon divergence
    "jensen_shannon": FDivergence(lambda h: math.log(2) + logsigmoid(h), lambda h: softplus(h) - math.log(2)),
    # f(r) = (√r - 1)²
    "squared_hellinger": FDivergence(lambda h: 1 - (-h / 2).exp(), lambda h: (h / 2).exp() - 1),
}
