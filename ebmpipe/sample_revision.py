"""Samples of a generator, revised by a Markov chain under an energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.energies import Energy


@dataclass(frozen=True)
class SampleRevision:
    """Where chains begin and what moves them.

    Attributes:
        start: count and stream of randomness -> as many samples of the generator, (n, *event).
        kernel: what revises them.
        energy: E of the model in nats, in units in which ``kernel`` samples exp(-E/T).
        steps: how many of its steps training takes.
    """

    start: Callable[[int, torch.Generator], Tensor]
    kernel: samplers.Kernel
    energy: Energy
    steps: int
