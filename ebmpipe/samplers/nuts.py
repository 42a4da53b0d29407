"""The no-U-turn sampler."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.samplers.base import Info, Kernel, State, evaluated
from ebmpipe.samplers.hmc import LeapfrogStep
from ebmpipe.samplers.leapfrog import kinetic, leapfrog
from ebmpipe.samplers.reflection import Reflected

MaxDepth = Annotated[int, Field(ge=1, le=20, description="doublings of a trajectory at most, which then has 2 to that power points")]

#: A point whose H is higher than that of the start by more, in nats, ends the trajectory as divergent (Hoffman & Gelman 2014).
LARGEST_ERROR = 1000.0


class Point(NamedTuple):
    """Points of m trajectories: position and momentum, (m, *event) each."""

    x: Tensor
    momentum: Tensor


class Edge(NamedTuple):
    """Points from which trajectories can be continued, and the gradient there."""

    x: Tensor
    momentum: Tensor
    slope: Tensor

    @property
    def point(self) -> Point:
        """Without the gradient."""
        return Point(self.x, self.momentum)


class Subtree(NamedTuple):
    """What a doubling added to those trajectories that neither turned nor diverged within it.

    Attributes:
        rows: which trajectories these are, (k,).
        first: the first new points, momenta in the direction of travel.
        edge: the last ones, likewise.
        log_weight: log of the sum of exp(H of the start - H) over the new points, (k,).
        x: a point drawn from the new ones in proportion to exp(-H), (k, *event), …
        value: … its energy, (k,), …
        slope: … and gradient.
    """

    rows: Tensor
    first: Point
    edge: Edge
    log_weight: Tensor
    x: Tensor
    value: Tensor
    slope: Tensor


def turned(energy: Energy, first: Point, last: Point) -> Tensor:
    """Whether going on at either end of a stretch brings its ends closer, (m,) bool (Hoffman & Gelman 2014, eq. 9).

    In a box they are compared as they are seen there: the unfolded path of a particle that crosses its walls need never turn.
    """
    if isinstance(energy, Reflected):
        box = energy.box
        first, last = (Point(box.fold(x), momentum * box.orientation(x)) for x, momentum in (first, last))
    way = (last.x - first.x).flatten(1)
    return ((way * first.momentum.flatten(1)).sum(1) <= 0) | ((way * last.momentum.flatten(1)).sum(1) <= 0)


def halves_turned(energy: Energy, first: Point, middle: tuple[Point, Point], last: Point) -> Tensor:
    """Whether a stretch has turned as a whole, or from either half to the nearest point of the other, (m,) bool.

    The latter notices a turn that just fell between two doublings, which a whole period of oscillation would hide from the former.

    Args:
        energy: E.
        first: where the stretch begins, in the direction of travel.
        middle: the last points of its first half and the first ones of its second.
        last: where it ends.
    """
    return turned(energy, first, last) | turned(energy, first, middle[1]) | turned(energy, middle[0], last)


def stretches(leaf: int) -> tuple[int, range]:
    """Of the balanced binary tree over points 0, 1, …: the slot that point ``leaf`` has, and the slots that it closes.

    An even point opens a stretch and is kept in its slot; an odd one is the last of one or several stretches of 2, 4, … points,
    whose first points are in the slots returned. As many slots as the tree has levels suffice (Phan et al. 2019, algorithm 2).
    """
    slot = (leaf >> 1).bit_count()
    closed = (~leaf & (leaf + 1)).bit_length() - 1  # trailing ones
    return slot, range(slot, slot - closed, -1)


class NUTS(Kernel):
    """Trajectories that double until they turn back, a point of each taken so that p is exactly stationary (Hoffman & Gelman 2014).

    The multinomial variant (Betancourt 2017, appendix A.3): within a doubling, points are drawn in proportion to exp(-H); between
    the old half and the new one the choice is biased to the new. Chains advance together, one leapfrog step at a time, and leave once
    their trajectory has ended, so no gradient is wasted, but a step lasts as long as its longest trajectory.
    The acceptance is the mean of min(1, exp(H of the start - H)) over the new points.

    Args:
        step_size: ε > 0 of a leapfrog step, in data units.
        max_depth: doublings at most, so 2^max_depth - 1 gradients.
    """

    name = "nuts"
    revision = 1
    gradients_at_init = 1
    random_cost = True
    one_point_per_chain = False  # chains whose trajectory has ended leave
    adjusted = True
    target_acceptance = 0.8  # Hoffman & Gelman 2014, §4.3; Betancourt, Byrne & Girolami 2014

    def __init__(self, step_size: LeapfrogStep, max_depth: MaxDepth = 10) -> None:
        if not step_size > 0 or not max_depth >= 1:
            raise ValueError(f"NUTS needs step_size > 0 and max_depth >= 1, got {step_size} and {max_depth}")
        self.step_size, self.max_depth = step_size, max_depth
        self.gradients_per_step = 2**max_depth - 1

    def init(self, energy: Energy, x: Tensor) -> State:
        """Caches E and its gradient at ``x``."""
        return State(x.clone(), *evaluated(energy, x))

    def step(self, energy: Energy, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """One trajectory per chain. Points of non-finite energy end it and are never entered."""
        x, value, slope, _ = state
        assert value is not None and slope is not None
        n, device = x.shape[0], x.device
        momentum = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype)
        start = value + kinetic(momentum)
        x_new, value_new, slope_new = x.clone(), value.clone(), slope.clone()
        acceptance, points = torch.zeros_like(value), torch.zeros_like(value)
        # Of the chains whose trajectory still grows: which they are, both ends (the earlier first), log weight of all points.
        chains = torch.arange(n, device=device)
        ends = Edge(*(torch.stack([part, part]) for part in (x, momentum, slope)))
        log_weight = torch.zeros_like(value)
        for depth in range(self.max_depth):
            if not len(chains):
                break
            rows = torch.arange(len(chains), device=device)
            forward = torch.randint(2, (len(chains),), generator=generator, device=device)
            sign = (2 * forward - 1).to(x.dtype).view(-1, *[1] * (x.dim() - 1))
            edge = Edge(ends.x[forward, rows], ends.momentum[forward, rows] * sign, ends.slope[forward, rows])
            far = Point(ends.x[1 - forward, rows], ends.momentum[1 - forward, rows] * sign)
            new, tally = self._double(energy, edge, start[chains], depth, generator)
            acceptance[chains] += tally[0]
            points[chains] += tally[1]

            chains, log_weight, forward, sign = (part[new.rows] for part in (chains, log_weight, forward, sign))
            ends = Edge(*(part[:, new.rows] for part in ends))
            u = torch.rand(len(chains), generator=generator, device=device, dtype=x.dtype)
            taken = u < (new.log_weight - log_weight).exp()
            into = chains[taken]
            x_new[into], value_new[into], slope_new[into] = new.x[taken], new.value[taken], new.slope[taken]

            rows = torch.arange(len(chains), device=device)
            for part, added in zip(ends, new.edge._replace(momentum=new.edge.momentum * sign), strict=True):
                part[forward, rows] = added
            log_weight = torch.logaddexp(log_weight, new.log_weight)
            near, far = (Point(*(part[new.rows] for part in old)) for old in (edge.point, far))
            growing = ~halves_turned(energy, far, (near, new.first), new.edge.point)
            on = growing.nonzero().squeeze(1)
            chains, log_weight = chains[on], log_weight[on]
            ends = Edge(*(part[:, on] for part in ends))
        return State(x_new, value_new, slope_new), Info(acceptance / points, slope, evaluations=int(points.sum()))

    def _double(self, energy: Energy, edge: Edge, start: Tensor, depth: int, generator: torch.Generator) -> tuple[Subtree, Tensor]:
        """Continue m trajectories by 2^depth points from ``edge``, in the direction of its momenta.

        Args:
            energy: E.
            edge: where to go on.
            start: H where the trajectories began, (m,).
            depth: log₂ of the number of points.
            generator: the source of all randomness.

        Returns:
            The trajectories that got to the end, and for all of them the sum of min(1, exp(start - H)) over the new points and
            the number of these, (2, m).
        """
        x, momentum, slope = edge
        tally = torch.zeros(2, len(start), dtype=start.dtype, device=start.device)
        rows = torch.arange(len(start), device=start.device)
        log_weight = torch.full_like(start, -torch.inf)
        chosen = (x, start, slope)
        # Per slot, the first point of a stretch and the one before it.
        kept: list[tuple[Point, Point]] = []
        first = previous = edge.point
        for leaf in range(2**depth):
            x, momentum, value, slope = leapfrog(energy, x, momentum, slope, self.step_size)
            here = Point(x, momentum)
            first = here if leaf == 0 else first
            log_ratio = start - value - kinetic(momentum)
            # -inf, NaN and broken gradients, which break the momentum, are as bad as +inf.
            log_ratio = torch.where(log_ratio.isfinite(), log_ratio, -torch.inf)
            tally[0, rows] += log_ratio.clamp(max=0).exp()
            tally[1, rows] += 1
            log_weight = torch.logaddexp(log_weight, log_ratio)
            u = torch.rand(len(rows), generator=generator, device=start.device, dtype=start.dtype)
            taken = u < (log_ratio - log_weight).exp()
            wide = taken.view(-1, *[1] * (x.dim() - 1))
            chosen = (torch.where(wide, x, chosen[0]), torch.where(taken, value, chosen[1]), torch.where(wide, slope, chosen[2]))

            good = log_ratio > -LARGEST_ERROR
            slot, closed = stretches(leaf)
            if leaf % 2 == 0:
                kept[slot:] = [(here, previous)]
            middle = None
            for opened in closed:
                opening, before = kept[opened]
                # Two points have no more to them than their ends; of more, the second half is the stretch that was just closed.
                good &= ~(halves_turned(energy, opening, middle, here) if middle else turned(energy, opening, here))
                middle = (before, opening)
            previous = here
            if not good.all():
                on = good.nonzero().squeeze(1)
                x, momentum, slope, start, rows, log_weight = (part[on] for part in (x, momentum, slope, start, rows, log_weight))
                chosen = (chosen[0][on], chosen[1][on], chosen[2][on])
                kept = [(Point(*(part[on] for part in a)), Point(*(part[on] for part in b))) for a, b in kept]
                first, previous = (Point(*(part[on] for part in point)) for point in (first, previous))
                if not len(rows):
                    break
        return Subtree(rows, first, Edge(x, momentum, slope), log_weight, *chosen), tally
