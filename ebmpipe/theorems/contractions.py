"""What operators on the laws of states take of their divergence, by enumeration, and the excess of a loss that it is."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.flips import value_and_flips
from ebmpipe.states import all_states
from ebmpipe.theorems.base import Measured, Theorem
from ebmpipe.theorems.examples import Waves
from ebmpipe.theorems.limits import SHAPES, named

#: Places of the models on the straight line of energies from the data's to another: at 0 is the truth.
PLACES = np.linspace(0.0, 1.0, 21)


class Pair(NamedTuple):
    """Data and model on all states.

    Attributes:
        x: the states (2^D, *event), coordinate i of state k being bit i of k.
        truth: E of the data's law, in nats.
        model: E of the model.
    """

    x: Tensor
    truth: Energy
    model: Energy


def pair(shape: Sequence[int], place: float) -> Pair:
    """Two of the limits' energies on the states, of which the second is mixed into the first by ``place``."""
    truth, other = Waves(shape, seed=0), Waves(shape, seed=1)
    return Pair(torch.from_numpy(all_states(tuple(shape))).double(), truth, lambda x: (1 - place) * truth(x) + place * other(x))


def law(energy: Energy, x: Tensor) -> Tensor:
    """p ∝ exp(-E), shape (2^D,), over all states ``x``."""
    return torch.softmax(-energy(x), 0)


def state_divergence(q: Tensor, p: Tensor) -> Tensor:
    """KL(q ‖ p) in nats, of laws (n,) that are nowhere zero."""
    return (q * (q / p).log()).sum()


def without(law: Tensor, i: int) -> Tensor:
    """The marginal of all coordinates but ``i``, shape (2^(D-1),), of a law (2^D,) over states in the order of `all_states`."""
    dimension = int(math.log2(len(law)))
    # The last axis is the lowest bit.
    return law.view([2] * dimension).sum(dimension - 1 - i).flatten()


def gibbs_matrices(energy: Energy, x: Tensor) -> Tensor:
    """For each coordinate i the probabilities that drawing it afresh given all others leads from a state to another.

    Shape (D, 2^D, 2^D), rows are from and columns to; the kernel `gibbs`, which draws i at random, has their mean.
    """
    _, changes = value_and_flips(energy, x)
    count, dimension = changes.shape
    here = torch.arange(count)
    found = []
    for i in range(dimension):
        turned = changes.new_zeros(count, count).index_put((here, here ^ (1 << i)), (-changes[:, i]).sigmoid())
        found.append(turned + torch.diag(changes[:, i].sigmoid()))
    return torch.stack(found)


class Contraction(Theorem):
    """KL(q ‖ p) - KL(Φq ‖ Φp) is the excess of a loss over its least value.

    Its kinds of operators are those of its ``legend``. By the data processing inequality it is never negative.
    """

    panel = "contractions"

    @abstractmethod
    def of(self, pair: Pair) -> dict[str, tuple[Tensor, Tensor]]:
        """By kind, what the operator takes and the loss's excess, in nats."""

    def measure(self) -> Measured:
        arrays: dict[str, np.ndarray] = {"places": PLACES}
        numbers: dict[str, float] = {}
        for shape in SHAPES:
            rows = []
            with torch.no_grad():
                for place in PLACES:
                    example = pair(shape, float(place))
                    q, p = law(example.truth, example.x), law(example.model, example.x)
                    rows.append(self.of(example) | {"kl": (state_divergence(q, p),) * 2})
            for kind in rows[0]:
                taken, excess = np.array([[float(value) for value in row[kind]] for row in rows]).T
                arrays[f"{kind}_{named(shape)}"] = taken
                if kind == "kl":
                    continue
                arrays[f"{kind}_excess_{named(shape)}"] = excess
                numbers[f"error_{kind}_{named(shape)}"] = float(np.abs(taken - excess).max() / excess.max())
                # Of the truth there is nothing to take, and elsewhere something.
                numbers[f"least_{kind}_{named(shape)}"] = float(taken[1:].min())
        return Measured(arrays, numbers)
