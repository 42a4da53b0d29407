"""Pairs of chains that each follow a Langevin kernel and are drawn so that they meet."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebmpipe.energies import Energy, value_and_gradient
from ebmpipe.samplers.base import Info, State, chosen
from ebmpipe.supports import Box


class Proposals(NamedTuple):
    """Draws from N(a, ε²I) and N(b, ε²I), one of each for every pair.

    Attributes:
        x: draws from the former, (n, *event).
        y: draws from the latter.
        x_noise: (x - a)/ε.
        y_noise: (y - b)/ε.
        equal: whether ``x`` and ``y`` are the same to the bit, (n,) bool.
    """

    x: Tensor
    y: Tensor
    x_noise: Tensor
    y_noise: Tensor
    equal: Tensor


def reflection_maximal(a: Tensor, b: Tensor, scale: float, generator: torch.Generator) -> Proposals:
    """The reflection-maximal coupling of N(a, ε²I) and N(b, ε²I) (Bou-Rabee, Eberle & Zimmer 2020; Jacob, O'Leary & Atchadé 2020, §4).

    The draws are equal with the largest probability that their laws allow, 2Φ(-|a - b|/(2ε)); where they are not, they are mirror
    images about the plane half-way between the means, so that they differ along one line only, in any dimension.

    Args:
        a: means of the first draws, (n, *event).
        b: means of the second.
        scale: ε, in data units.
        generator: the source of all randomness.
    """
    wide = (-1, *[1] * (a.dim() - 1))
    z = torch.randn(a.shape, generator=generator, device=a.device, dtype=a.dtype)
    u = torch.rand(a.shape[0], generator=generator, device=a.device, dtype=a.dtype)
    shift = (a - b) / scale
    along, square = (z * shift).flatten(1).sum(1), shift.flatten(1).square().sum(1)
    # u < φ(z + shift)/φ(z): the first draw lies under the second's density too.
    equal = u.log() <= -along - square / 2
    x = a + scale * z
    # Where the means are equal, so are the draws, and there is no direction to reflect in.
    mirrored = z - shift * (2 * along / square.clamp(min=torch.finfo(z.dtype).tiny)).view(wide)
    one = equal.view(wide)
    return Proposals(x, torch.where(one, x, b + scale * mirrored), z, torch.where(one, z + shift, mirrored), equal)


class Pairs(NamedTuple):
    """Pairs of chains, with E and ∇E cached where they are.

    Attributes:
        x: the first chains.
        y: the second.
        met: which pairs have become one chain, (n,) bool.
    """

    x: State
    y: State
    met: Tensor

    @classmethod
    def of(cls, x: State, y: State) -> Pairs:
        """Pairs of the chains ``x`` and ``y``; those at equal positions have met."""
        return cls(x, y, (x.x == y.x).flatten(1).all(1))

    def inside(self, box: Box | None) -> Pairs:
        """The same pairs seen through `Box.fold`: outside the box, chains would wander among its mirror images and hardly ever meet."""
        return self if box is None else Pairs(folded(self.x, box), folded(self.y, box), self.met)

    def only(self, which: Tensor) -> Pairs:
        """The pairs of ``which``, (n,) bool."""
        return Pairs(taken(which, self.x), taken(which, self.y), self.met[which])


def coupled_mala(energy: Energy, pairs: Pairs, step_size: float, generator: torch.Generator) -> tuple[Pairs, Info]:
    """One step of every pair, after which each chain of it, seen alone, has made one of `MALA`.

    Proposals are coupled by `reflection_maximal`, acceptances by a common uniform variable; chains that have met stay together. Energies
    and gradients of equal proposals are taken once: one per step of a pair that has met, two, or one by luck, of any other.

    Args:
        energy: E, (n, *event) -> (n,).
        pairs: where they are.
        step_size: ε, in data units.
        generator: the source of all randomness.

    Returns:
        The pairs, and what the step reports of the first chains, with the gradients that it took for both.
    """
    half = step_size**2 / 2
    x, y = pairs.x, pairs.y
    assert x.gradient is not None and y.gradient is not None
    proposed = reflection_maximal(x.x - half * x.gradient, y.x - half * y.gradient, step_size, generator)
    u = torch.rand(len(pairs.met), generator=generator, device=x.x.device, dtype=x.x.dtype)
    apart = torch.nonzero(~proposed.equal).squeeze(1)
    values, slopes = value_and_gradient(energy, torch.cat([proposed.x, proposed.y[apart]]))
    n = len(u)
    at_x = State(proposed.x, values[:n], slopes[:n])
    at_y = State(proposed.y, values[:n].index_put((apart,), values[n:]), slopes[:n].index_put((apart,), slopes[n:]))
    x_prob = accept_probability(x, at_x, proposed.x_noise, step_size)
    y_prob = accept_probability(y, at_y, proposed.y_noise, step_size)
    x_moves = u < x_prob
    y_moves = torch.where(pairs.met, x_moves, u < y_prob)
    moved = Pairs(chosen(x_moves, at_x, x), chosen(y_moves, at_y, y), pairs.met | (proposed.equal & x_moves & y_moves))
    return moved, Info(x_prob, x.gradient, evaluations=n + len(apart))


def accept_probability(before: State, after: State, noise: Tensor, step_size: float) -> Tensor:
    """Of the Langevin proposal ``after``, made from ``before`` by ``noise`` (n, *event); 0 where E or ∇E is not finite. (n,)."""
    assert before.energy is not None and after.energy is not None and after.gradient is not None
    backward = (before.x - after.x + step_size**2 / 2 * after.gradient) / step_size
    log_ratio = before.energy - after.energy + (noise.flatten(1).square().sum(1) - backward.flatten(1).square().sum(1)) / 2
    # Of what is not finite, all but E = -inf makes the ratio -inf or NaN.
    return torch.where(log_ratio < torch.inf, log_ratio.clamp(max=0).exp(), 0.0)


def folded(chains: State, box: Box) -> State:
    """Chains of the continued energy of `reflected`, seen in the box."""
    assert chains.gradient is not None
    return State(box.fold(chains.x), chains.energy, chains.gradient * box.orientation(chains.x))


def taken(which: Tensor, chains: State) -> State:
    """The chains of ``which``, (n,) bool."""
    assert chains.energy is not None and chains.gradient is not None
    return State(chains.x[which], chains.energy[which], chains.gradient[which])
