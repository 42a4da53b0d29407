"""What is scored, whoever trained or drew it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ebmpipe.energies import Energy, Law
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.methods.base import Method, NoEnergy
from ebmpipe.sample_revision import SampleRevision
from ebmpipe.transport import LatentEnergy


@dataclass(frozen=True)
class Scored:
    """Samples, an energy, or both.

    Attributes:
        samples: arrays (n, *event) in model space, by source.
        source: that which bare metric ids are about.
        energy: E in nats, (n, *event) -> (n,); None if there is none.
        module: what to hold fixed while E is evaluated many times; None if nothing in it changes.
        base: the normalised law on E's support that it tilts; None if it declares none.
        exact: whether ``fresh`` samples are exact ones of the law of E.
        noise_level: σ of the Gaussian noise in the data that E models; 0 if it models the data themselves.
        smooth: adds the noise that E allows for to examples (n, *event); None if it allows for none.
        log_partition: log Z of E in nats as training estimated it, and its standard error.
        latent: the law of E in the latent space of what it tilts; None if it has none.
        latent_codes: what latent vectors of its generator examples may have come from; None without a generator.
        sample_revision: how a generator's samples are revised under E; None if none are.
        latent_samples: count and stream of randomness -> as many samples of that law, (n, dimension).
        class_probabilities: p(y | x), (n, *event) -> (n, classes) float64; None if there is no classifier.
        seed: root of the metrics' randomness.
    """

    samples: Mapping[str, np.ndarray]
    source: str
    energy: Energy | None = None
    module: nn.Module | None = None
    base: Law | None = None
    exact: bool = False
    noise_level: float = 0.0
    smooth: Callable[[Tensor, torch.Generator], Tensor] | None = None
    log_partition: tuple[float, float] | None = None
    latent: LatentEnergy | None = None
    latent_samples: Callable[[int, torch.Generator], Tensor] | None = None
    latent_codes: LatentCodes | None = None
    sample_revision: SampleRevision | None = None
    class_probabilities: Callable[[Tensor], Tensor] | None = None
    seed: int = 0

    @classmethod
    def of(cls, method: Method, samples: Mapping[str, np.ndarray], source: str, seed: int, device: str) -> Scored:
        """A trained method with its samples."""
        energy: Energy | None
        try:
            energy = method.energy_function()
            method.energy(torch.full((1, *method.spec.shape), method.spec.mean, device=device))
        except NoEnergy:
            energy = None
        sigma, latent = method.noise_level, method.latent_energy()

        def latent_samples(n: int, generator: torch.Generator) -> Tensor:
            drawn = method.latent_samples(n, generator)
            assert drawn is not None
            return drawn.x

        return cls(
            samples,
            source,
            energy,
            module=method,
            base=method.tilted,
            exact=method.exact_sampler,
            noise_level=sigma,
            smooth=(lambda x, generator: method.smoothed(x, sigma, generator)) if sigma else None,
            log_partition=method.log_partition(),
            latent=latent,
            latent_samples=latent_samples if latent else None,
            latent_codes=method.latent_codes(),
            sample_revision=method.sample_revision(),
            class_probabilities=method.class_probabilities if method.classifies else None,
            seed=seed,
        )
