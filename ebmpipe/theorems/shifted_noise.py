"""Noise contrastive estimation with the data, shifted, as noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ebmpipe.energies import Energy
from ebmpipe.methods.noise_contrast import contrast
from ebmpipe.methods.sliced_score_matching import plain_slices
from ebmpipe.theorems.examples import directions
from ebmpipe.theorems.limits import Limit


class ShiftedNoise(Limit):
    """NCE tells x from x + v; the density of the noise, which nobody knows, is taken for the model's own, p(x - v)."""

    name = "shifted_noise"
    revision = 1
    title = "NCE, shifted data as noise"
    statement = "−log σ(E(x−v) − E(x)) − log σ(E(x+v) − E(x)) = 2 log 2 + ½[½(vᵀs)² + vᵀ∇s v] + O(‖v‖⁴)"
    source = "Song & Kingma 2021, §5.1"
    methods = ("nce", "sliced_score_matching")
    panel = "remainders"
    legend: ClassVar[Mapping[str, str]] = {"value": "value of the loss", "gradient": "its gradient in the weights"}
    order = 4
    constant = 2 * math.log(2)

    def loss(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        v = step * directions(x.shape[1:])
        here = energy(x)
        # Log-ratios log p(y) - log p(y - v), at data y = x and at noise y = x + v.
        on_data, on_noise = contrast(energy(x - v) - here, here - energy(x + v), 1.0)
        return on_data + on_noise

    def leading(self, energy: Energy, x: Tensor, step: float) -> Tensor:
        return plain_slices(energy, x, step * directions(x.shape[1:])) / 2
