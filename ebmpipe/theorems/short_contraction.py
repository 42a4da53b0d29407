"""What a flow that brings two laws together takes of their divergence in a short time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ebmpipe.theorems.base import Measured, Theorem
from ebmpipe.theorems.flows import Flow
from ebmpipe.theorems.heat_flow import HeatFlow
from ebmpipe.theorems.langevin_flow import LangevinFlow
from ebmpipe.theorems.limits import STEPS, fitted_slope

#: Squares of the limits' steps: blurring for a time t is noise of standard deviation √t.
TIMES = STEPS**2
FLOWS: Mapping[str, type[Flow]] = {"heat": HeatFlow, "langevin": LangevinFlow}


class ShortContraction(Theorem):
    """KL contraction by a little Gaussian blur of both laws is score matching, and so is that by short Langevin dynamics of the model.

    The divergences before and after are what minimum KL contraction subtracts (Lyu 2011); the start of Langevin dynamics is minimum
    velocity learning (Movellan 2008). The flows' own theorems have the derivative; here is the secant, which an operator of a
    finite width has, and what it is off by.
    """

    name = "short_contraction"
    revision = 1
    title = "short contraction of KL"
    statement = "[KL(q ‖ p) − KL(q_t ‖ p_t)]/t = c D_F(q ‖ p) + O(t): c = 1 for both blurred by N(0, tI), 2 for Langevin dynamics of p"
    source = "Movellan 2008; Lyu 2011"
    methods = ("score_matching",)
    panel = "short"
    legend: ClassVar[Mapping[str, str]] = {"heat": "blur of both", "langevin": "Langevin"}

    def measure(self) -> Measured:
        arrays: dict[str, np.ndarray] = {"times": TIMES}
        numbers: dict[str, float] = {}
        for flow, theorem in FLOWS.items():
            for law in ("mixtures", "gaussians"):
                curve = getattr(theorem(), f"of_{law}")(np.append(TIMES, 0.0))
                taken, speed = curve.kl[-1] - curve.kl[:-1], theorem.factor * curve.fisher[-1]
                errors = np.abs(taken / TIMES / speed - 1)
                arrays |= {f"{flow}_{law}": errors, f"{flow}_taken_{law}": taken}
                numbers |= {f"slope_{flow}_{law}": fitted_slope(TIMES, errors), f"least_{flow}_{law}": float(taken.min())}
        return Measured(arrays, numbers)
