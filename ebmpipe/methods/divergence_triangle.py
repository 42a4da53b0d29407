"""The divergence triangle."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.derivatives import to_first_order
from ebmpipe.energies import frozen, value_and_gradient
from ebmpipe.methods.base import ByKind, Reference
from ebmpipe.methods.generator_family import GeneratorFamily, GeneratorFamilyConfig
from ebmpipe.optimisation import Update, apply_all


class DivergenceTriangleConfig(GeneratorFamilyConfig):
    """Settings of `DivergenceTriangle`."""

    posterior_steps: int = Field(
        0, ge=0, description="steps of it from the inference model's answer, where examples are reconstructed; training takes none"
    )


class DivergenceTriangle(GeneratorFamily):
    """Energy, generator and inference model without Markov chains: KL(Q ‖ P) + KL(P ‖ Π) - KL(Q ‖ Π) (Han et al. 2019).

    Q is data with the inference model's z, P the generator's joint law, Π that of the energy with the inference model's z. Generator and
    inference model minimise the first two: minus the evidence bound of the data, and E(x) - log q(z | x) at the generator's samples x of
    z, whose own entropy, for a fixed σ, is a constant; both with gradients through samples. The energy minimises E(data) - E(samples).
    """

    name = "divergence_triangle"
    revision = 1
    title = "Divergence triangle"
    references = (
        Reference(
            "T. Han, E. Nijkamp, X. Fang, M. Hill, S.-C. Zhu, Y. N. Wu",
            "Divergence triangle for joint training of generator model, energy-based model, and inferential model",
            2019,
            "1812.10907",
        ),
    )
    Config = DivergenceTriangleConfig
    config: DivergenceTriangleConfig
    # An energy that learns as fast as the generator runs away from it, as in `adversarial`.
    settings_by_kind: ClassVar[ByKind] = {
        "density": {**GeneratorFamily.settings_by_kind["density"], "batch_size": 256, "optimiser": {"learning_rate": 2e-4}},
        "images": {**GeneratorFamily.settings_by_kind["images"], "batch_size": 128, "optimiser": {"learning_rate": 2e-4}},
    }

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and every generated sample once, in the weights; and ∇ₓE at the latter, from which the generator learns."""
        return 3 * self.config.batch_size

    def joint(self, batch: Tensor, e: Tensor, u: Tensor, values: Tensor, uphill: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """KL(Q ‖ P) + KL(P ‖ Π) up to constants, in nats, a function of generator and inference model; and what to report of it.

        Args:
            batch: examples (n, *event).
            e: what decides their latent vectors, (n, latent).
            u: what samples are made of, (n, dimension).
            values: E at the samples, (n,), a constant.
            uphill: ∇E there, (n, *event).
        """
        law = self.models(False)
        bound, x = law.bound(batch, e).mean(), law.carried(u)
        inferred = self.of_inference(law, x, u[:, : law.latent]).mean()
        loss = to_first_order(values, uphill, x).mean() + inferred - bound
        return loss, {"bound": bound.detach(), "inference_generated": inferred.detach()}

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        n, law = len(batch), self.models(False)
        e = torch.randn(n, law.latent, generator=generator, device=batch.device).to(batch)
        u = self.drawn(law, n, generator)
        with torch.no_grad():
            x = law.carried(u)
        with frozen(self.live):
            values, uphill = value_and_gradient(self.live, x)
        both = torch.cat([batch, x])
        energies = self.live(both)
        on_data, on_generated = (part.mean() for part in energies.split(n))
        loss, told = self.joint(batch, e, u, values, uphill)
        of_energy = self.as_update(on_data - on_generated, energies, both)
        report, *_ = apply_all(of_energy, Update(loss, self.generator), Update(loss, self.inference))
        contrast = {"d_t": on_data - on_generated, "energy_data": on_data, "energy_negative": on_generated}
        return {**report, **{name: value.detach() for name, value in contrast.items()}, **told}
