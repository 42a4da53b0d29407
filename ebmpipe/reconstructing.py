"""Gives test examples back by a generator, from the latent vectors that they may have come from."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from ebmpipe.energies import frozen
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.metrics.base import Events
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.metrics.reconstruction import DRAWS, Reconstructed, Reconstructor
from ebmpipe.scored import Scored
from ebmpipe.seeding import torch_generator
from ebmpipe.tensors import doubles

#: Steps of the posterior's chains after which errors are written down, and pairs of examples and points of the ways between their codes.
PROFILE, PAIRS, POINTS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100), 4, 9


def reconstructor(scored: Scored, test: Events, device: str) -> Reconstructor | None:
    """What reconstructs examples of the ``test`` split; None without a generator."""
    codes = scored.latent_codes
    if codes is None:
        return None

    @torch.no_grad()
    def reconstruct(n: int) -> Reconstructed:
        clean = np.asarray(test[reference_order("test", len(test))[:n]], dtype=np.float64)
        with frozen(scored.module) if scored.module else nullcontext():
            return reconstructed(codes, torch.from_numpy(clean).to(codes.law.fixed), scored.seed, device)

    return reconstruct


def reconstructed(codes: LatentCodes, x: Tensor, seed: int, device: str) -> Reconstructed:
    """``x`` (n, *event) and what ``codes`` make of it."""
    generator = torch_generator(seed, "evaluation", "reconstruction", device=device)
    law = codes.law
    mean = law.encoded(x)[0] if codes.infers else None
    prior = codes.prior(len(x), generator)
    starts = [prior] if mean is None else [prior, mean]
    errors, revised = [], starts[-1]
    steps = sorted({*PROFILE, codes.steps})
    for start in starts:
        z, done, profile = start, 0, []
        for step in steps:
            z, done = codes.revised(x, z, step - done, generator)[0] if step > done else z, step
            profile.append(float((law.decoded(z) - x).square().mean()))
            if step == codes.steps:
                revised = z
        errors.append(profile)
    averaged = None
    if codes.steps:
        begun = starts[-1].repeat(DRAWS, 1)
        z = codes.revised(x.repeat(DRAWS, *[1] * (x.dim() - 1)), begun, codes.steps, generator)[0]
        averaged = doubles(law.decoded(z).view(DRAWS, *x.shape).mean(0))
    times = torch.linspace(0, 1, POINTS).to(x)[:, None]
    first, last = revised[: 2 * PAIRS : 2, None], revised[1 : 2 * PAIRS : 2, None]
    ways = first * (1 - times) + last * times
    between = law.decoded(ways.flatten(0, 1)).view(*ways.shape[:2], *x.shape[1:])
    return Reconstructed(
        clean=doubles(x),
        inferred=None if mean is None else doubles(law.decoded(mean)),
        revised=doubles(law.decoded(revised)),
        averaged=averaged,
        steps=np.array(steps),
        profile=np.array(errors),
        between=doubles(between),
        training_steps=codes.steps,
        kernel=type(codes.kernel).name,
    )
