"""A density under Langevin dynamics of the model."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import entr
from torch import Tensor

from ebmpipe.theorems.flows import COUNT, HIGH, LOW, START, TARGET, Curve, Flow, Gaussian
from ebmpipe.theorems.laws import Langevin, fisher_divergence, grid


class LangevinFlow(Flow):
    """Langevin dynamics of p carries the data towards p at the speed 2 D_F: the model whose chains leave the data most slowly."""

    name = "langevin_flow"
    revision = 1
    title = "Langevin dynamics of p"
    statement = "d/dt KL(q_t ‖ p) = −2 D_F(q_t ‖ p), dx = −∇E dt + √2 dW"
    source = "Movellan 2008"
    factor = 2

    def of_mixtures(self, times: np.ndarray) -> Curve:
        x, h = grid(LOW, HIGH, COUNT)
        dynamics, rows = Langevin(TARGET, x, h), []
        log_p = TARGET.log_density(x).numpy()
        for time in map(float, times):
            q, score, rate = dynamics.at(START, time)
            fisher = fisher_divergence(torch.from_numpy(q), torch.from_numpy(score)[:, None], TARGET, x, h)
            rows.append((float((entr(q).sum() + q @ log_p) * -h), rate, fisher))
        return Curve(*np.array(rows).T)

    def moved(self, q: Gaussian, p: Gaussian, time: Tensor) -> tuple[Gaussian, Gaussian]:
        decay = torch.linalg.matrix_exp(-time * torch.linalg.inv(p.covariance))
        return Gaussian(p.mean + decay @ (q.mean - p.mean), p.covariance + decay @ (q.covariance - p.covariance) @ decay.T), p
