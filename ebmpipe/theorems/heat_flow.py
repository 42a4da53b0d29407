"""Both densities under the heat flow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ebmpipe.theorems.flows import COUNT, HIGH, LOW, START, TARGET, Curve, Flow, Gaussian
from ebmpipe.theorems.laws import divergence, fisher_divergence, grid


class HeatFlow(Flow):
    """Blurring two densities alike brings them together at the speed D_F: score matching minimises how fast it starts."""

    name = "heat_flow"
    revision = 1
    title = "heat flow of both"
    statement = "d/dt KL(q_t ‖ p_t) = −D_F(q_t ‖ p_t), both convolved with N(0, tI)"
    source = "Lyu 2009"
    factor = 1

    def of_mixtures(self, times: np.ndarray) -> Curve:
        # They broaden: a wider grid.
        x, h = grid(2 * LOW, 2 * HIGH, 2 * COUNT - 1)
        rows = []
        for time in times:
            t = torch.tensor(float(time), dtype=torch.float64, requires_grad=True)
            q, p = START.widened(t), TARGET.widened(t)
            kl = divergence(q, p, x, h)
            (rate,) = torch.autograd.grad(kl, t)
            q, p = START.widened(float(time)), TARGET.widened(float(time))
            rows.append((float(kl.detach()), float(rate), fisher_divergence(q.log_density(x).exp(), q.score(x), p, x, h)))
        return Curve(*np.array(rows).T)

    def moved(self, q: Gaussian, p: Gaussian, time: Tensor) -> tuple[Gaussian, Gaussian]:
        heat = time * torch.eye(len(q.mean), dtype=torch.float64)
        return Gaussian(q.mean, q.covariance + heat), Gaussian(p.mean, p.covariance + heat)
