"""Models whose samples a map makes of Gaussian vectors and whose density is known, or nearly: what they share."""

from __future__ import annotations

from typing import ClassVar

import torch

from ebmpipe.methods.base import EnergyMethod, Samples, Setup
from ebmpipe.transported_law import TransportedLaw


class Transported(EnergyMethod):
    """A law with samples of its own, in the place of an energy network's: rows of their own, and what other methods tilt.

    Attributes:
        sampler: what draws the samples, in a word.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"space"})  # it reaches beyond every box
    sampler: ClassVar[str]

    def __init__(self, setup: Setup) -> None:
        if setup.config.spectral_norm is not None:
            raise ValueError(f"{self.name} has no energy network whose slope spectral_norm could bound: leave it out")
        super().__init__(setup)

    @property
    def law(self) -> TransportedLaw:
        """The law with averaged weights."""
        law = self.learner.average
        assert isinstance(law, TransportedLaw)
        return law

    @property
    def tilted(self) -> TransportedLaw:
        """Itself: `energy` has log Z = 0, as far as its density is known."""
        return self.law

    @property
    def start(self) -> TransportedLaw:
        return self.law

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` exact samples, with the denoising jump, if so configured."""
        x = self.law.sample(n, generator)
        before = x if self.denoises else None
        return Samples(self.denoised(x), self.sampler, before=before, gradient_evaluations=n * int(self.denoises))
