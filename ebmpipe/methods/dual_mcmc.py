"""Dual-MCMC teaching."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.methods.base import ByKind
from ebmpipe.methods.generator_family import DUAL_MCMC, Revising, RevisingConfig
from ebmpipe.optimisation import apply_all, apply_gradients, undone_by_divergence


class DualMCMCConfig(RevisingConfig):
    """Settings of `DualMCMC`."""

    revise_negatives: bool = Field(
        True, description="the energy's negatives are samples of the generator after its update, revised once more; false: those samples"
    )
    posterior_start: Literal["inference", "prior"] = Field(
        "inference",
        description="where chains of latent vectors begin: at the inference model's, or at the prior's, without an inference model",
    )
    reconstruction: float = Field(1.0, gt=0, description="weight of the data in what teaches the generator and the inference model")
    revision: float = Field(1.0, ge=0, description="weight of the generator's own samples, revised, in what teaches it")
    generated: float = Field(1.0, ge=0, description="weight of these samples in what teaches the inference model")


class DualMCMC(Revising):
    """Energy, generator and inference model, each taught by samples that another's Markov chain has revised (Cui & Han 2023).

    In an update x₀ = g(z) + σε becomes x̃ by ``steps`` steps under the energy, and z₀ ~ q(z | x) of each example becomes z̃ by
    ``posterior_steps`` under p(z | x); where they begin and what they come to are constants. Then

    - the generator minimises -log p(x | z̃) - log p(x̃ | z): it explains the data, and follows its samples to where the energy wants them;
    - the inference model minimises -log q(z̃ | x) - log q(z | x̃), with the z that x̃ began at;
    - the energy minimises E(x) - E(x̃′), with x̃′ the samples of the generator as it now is, from the same z, revised again.

    These are eqs. 10, 15 and 7 of the paper. Without the first term the generator is that of `cooperative` learning; without an inference
    model (``posterior_start: prior``) chains of latent vectors begin at noise.
    """

    name = "dual_mcmc"
    revision = 1
    title = "Dual-MCMC teaching"
    references = (DUAL_MCMC,)
    Config = DualMCMCConfig
    config: DualMCMCConfig
    # Where chains forget as much as they do on images, samples would teach the generator to shrink (docs/methods.md).
    settings_by_kind: ClassVar[ByKind] = {
        **Revising.settings_by_kind,
        "images": {**Revising.settings_by_kind["images"], "revision": 0.1},
    }

    @property
    def infers(self) -> bool:
        """Whether there is an inference model."""
        return self.config.posterior_start == "inference"

    @property
    def revisions(self) -> int:
        return 1 + self.config.revise_negatives

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        # The energy learns from samples of a generator that has moved.
        with undone_by_divergence(self.generator, self.inference):
            return self.taught(batch, generator)

    def taught(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """One update of all three models, one after the other."""
        config, law = self.config, self.models(False)
        u = self.drawn(law, len(batch), generator)
        z = u[:, : law.latent]
        start = self.started(law, u)
        revised, *summaries = self.revised(start, generator)
        posterior = self.codes(law)
        codes, _ = posterior.revised(batch, posterior.inferred(batch, generator), posterior.steps, generator)

        explained, followed = law.misfit(batch, codes).mean(), law.misfit(revised, z).mean()
        apply_gradients(config.reconstruction * explained + config.revision * followed, self.generator)
        report = {
            "reconstruction": explained.detach(),
            "followed": followed.detach(),
            "moved": torch.linalg.vector_norm((revised - start).flatten(1), dim=1).mean(),
        }
        if self.infers:
            of_data, of_generated = self.of_inference(law, batch, codes).mean(), self.of_inference(law, revised, z).mean()
            apply_gradients(config.reconstruction * of_data + config.generated * of_generated, self.inference)
            report |= {"inference_data": of_data.detach(), "inference_generated": of_generated.detach()}
        # What the generator, which has moved, makes of the same latent vectors.
        negatives = self.started(law, u)
        if config.revise_negatives:
            negatives, again = self.revised(negatives, generator)
            summaries.append(again)
        of_energy, told = self.contrast(batch, negatives, *summaries)
        return apply_all(of_energy)[0] | told | report
