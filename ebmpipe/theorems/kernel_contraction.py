"""Contrastive divergence as what the model's chain takes of the divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ebmpipe.theorems.base import Measured
from ebmpipe.theorems.contractions import Contraction, Pair, gibbs_matrices, law, pair, state_divergence
from ebmpipe.theorems.examples import Waves
from ebmpipe.theorems.limits import SHAPES, named

#: Steps of the chain by kind.
CHAINS: Mapping[str, int] = {"one": 1, "ten": 10}


def after(q: Tensor, matrix: Tensor, steps: int) -> Tensor:
    """The law (n,) of a chain that starts from ``q`` (n,), after ``steps`` of the transition probabilities ``matrix`` (n, n)."""
    moved: Tensor = q @ torch.linalg.matrix_power(matrix, steps)
    return moved


def gradients_in_weights(shape: Sequence[int], steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of KL(q ‖ p) - KL(qTᵏ ‖ p) whole, of the same with the chain's law held fixed, and of E_q[E] - E_qTᵏ[E], which CD follows."""
    x, truth, _ = pair(shape, 1.0)
    model = Waves(shape, seed=1)
    q, p = law(truth, x).detach(), law(model, x)
    moved = after(q, gibbs_matrices(model, x).mean(0), steps)
    kept, energies = moved.detach(), model(x)
    losses = (
        state_divergence(q, p) - state_divergence(moved, p),
        state_divergence(q, p) - state_divergence(kept, p),
        ((q - kept) * energies).sum(),
    )
    found = [torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for loss in losses]
    whole, fixed, followed = (torch.cat([part.flatten() for part in parts]) for parts in found)
    return whole, fixed, followed


class KernelContraction(Contraction):
    """A chain that leaves the model unchanged takes of KL what contrastive divergence minimises, and all of it in the long run.

    What is taken is the contrast of the energies less the entropy that the chain gains, with no log Z. With the chain's law held fixed its
    gradient is CD's update; what that neglects is how the law depends on the weights.
    """

    name = "kernel_contraction"
    revision = 1
    title = "Gibbs sampling of the model"
    statement = "KL(q ‖ p) − KL(qTᵏ ‖ p) = E_q[E] − E_{qTᵏ}[E] − H(q) + H(qTᵏ), where pT = p"
    source = "Hinton 2002; Lyu 2011"
    methods = ("cd",)
    legend: ClassVar[Mapping[str, str]] = {"one": "one Gibbs step", "ten": "ten"}

    def of(self, pair: Pair) -> dict[str, tuple[Tensor, Tensor]]:
        x, found = pair.x, {}
        q, p, energies = law(pair.truth, x), law(pair.model, x), pair.model(x)
        matrix = gibbs_matrices(pair.model, x).mean(0)
        for kind, steps in CHAINS.items():
            moved = after(q, matrix, steps)
            contrast = ((q - moved) * energies).sum()
            gained = torch.special.entr(moved).sum() - torch.special.entr(q).sum()
            # p moves too, to itself.
            found[kind] = (state_divergence(q, p) - state_divergence(moved, after(p, matrix, steps)), contrast + gained)
        return found

    def measure(self) -> Measured:
        found = super().measure()
        numbers: dict[str, float] = {}
        for shape in SHAPES:
            for kind, steps in CHAINS.items():
                whole, fixed, followed = gradients_in_weights(shape, steps)
                scale = whole.abs().max()
                numbers[f"followed_{kind}_{named(shape)}"] = float((fixed - followed).abs().max() / scale)
                numbers[f"neglected_{kind}_{named(shape)}"] = float((whole - followed).abs().max() / scale)
        return Measured(found.arrays, {**found.numbers, **numbers})
