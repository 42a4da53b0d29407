"""Revises a generator's samples under an energy, as in training and far beyond."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch

from ebmpipe import samplers
from ebmpipe.energies import frozen
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.sample_revision import Revised, Reviser
from ebmpipe.restoring import jump_of
from ebmpipe.scored import Scored
from ebmpipe.seeding import torch_generator
from ebmpipe.tensors import doubles

#: Frames up to the end of training's steps, in shares of these, and steps of those beyond.
WITHIN, BEYOND = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0), (100, 300, 1000)


def schedule(training: int, last: int) -> tuple[list[int], list[int]]:
    """After how many steps energies are written down, about evenly on a logarithmic scale beyond training's ``training``, and frames."""
    frames = {round(share * training) for share in WITHIN} | {step for step in BEYOND if training < step <= last} | {last}
    beyond = np.geomspace(training, max(training, last), 40).round().astype(int)
    return sorted({*range(training + 1), *map(int, beyond), *frames}), sorted(frames)


def reviser(scored: Scored, device: str) -> Reviser | None:
    """What revises samples of the generator of ``scored``; None if nothing does."""
    energy, revision = scored.energy, scored.sample_revision
    if energy is None or revision is None:
        return None
    clean = jump_of(energy, scored)

    @torch.no_grad()
    def revise(n: int, last: int) -> Revised:
        generator = torch_generator(scored.seed, "evaluation", "revision", device=device)
        last = max(last, revision.steps)
        steps, frame_steps = schedule(revision.steps, last)
        energies, frames = [], []
        with frozen(scored.module) if scored.module else nullcontext():
            start = x = revision.start(n, generator)
            state: torch.Tensor | samplers.State = start
            done, distance = 0, torch.zeros(n)
            for step in steps:
                if step > done:
                    x, summary = samplers.run(revision.kernel, revision.energy, state, step - done, generator)
                    state, done = summary.state, step
                energies.append(energy(x))
                if step in frame_steps:
                    frames.append(clean(x))
                if step == revision.steps:
                    distance = torch.linalg.vector_norm((x - start).flatten(1), dim=1)
        found = Revised(
            steps=np.array(steps),
            energy=doubles(torch.stack(energies)),
            frame_steps=np.array(frame_steps),
            frames=doubles(torch.stack(frames)),
            distance=doubles(distance),
            training_steps=revision.steps,
            kernel=type(revision.kernel).name,
        )
        lost = [step for step, values in zip(steps, found.energy, strict=True) if not np.isfinite(values).all()]
        if lost:
            raise NotAvailable(f"chains of {found.kernel} from the generator's samples were lost within {lost[0]} steps")
        return found

    return revise
