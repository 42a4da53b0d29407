"""Goes from sample to sample through the latent space of a model that has one."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from ebmpipe.energies import frozen, on_arrays
from ebmpipe.metrics.interpolation import Interpolated, Interpolator
from ebmpipe.scored import Scored
from ebmpipe.seeding import torch_generator

#: Points per call of the map.
CHUNK = 1024


def great_circle(first: Tensor, last: Tensor, points: int) -> Tensor:
    """cos(πt/2) u₀ + sin(πt/2) u₁ at ``points`` times t from 0 to 1: (n, points, dimension) of ends (n, dimension).

    Of independent Gaussian ends every point has the law that they have, which a straight line leaves: its middle is too near to 0.
    """
    angles = torch.linspace(0, math.pi / 2, points, device=first.device, dtype=first.dtype)[:, None]
    return torch.cos(angles) * first[:, None] + torch.sin(angles) * last[:, None]


def interpolator(scored: Scored, device: str) -> Interpolator | None:
    """What goes between samples of ``scored`` by its own sampler; None without an energy or a latent space."""
    energy, latent, draw = scored.energy, scored.latent, scored.latent_samples
    if energy is None or latent is None or draw is None:
        return None

    @torch.no_grad()
    def interpolate(pairs: int, points: int) -> Interpolated:
        with frozen(scored.module) if scored.module else nullcontext():
            ends = draw(2 * pairs, torch_generator(scored.seed, "evaluation", "interpolation", device=device))
            first, last = ends.split(pairs)
            ways = great_circle(first, last, points).flatten(0, 1)
            shape = (pairs, points, *latent.law.shape)
            x = torch.cat([latent.carried(part) for part in ways.split(CHUNK)]).view(shape).double().cpu()
            times = torch.linspace(0, 1, points, dtype=x.dtype).view(1, -1, *[1] * (x.dim() - 2))
            straight = x[:, :1] * (1 - times) + x[:, -1:] * times
            # Each way under the energy that chains on it move under: that of x differs by the log-determinant, which they do not feel.
            in_latent_space = torch.cat([latent(part) for part in ways.split(CHUNK)]).double().cpu().numpy()
            in_data_space = on_arrays(energy, device)(straight.flatten(0, 1).numpy())
        value = np.stack([in_latent_space, in_data_space]).reshape(2, pairs, points)
        return Interpolated(x.numpy(), straight.numpy(), value)

    return interpolate
