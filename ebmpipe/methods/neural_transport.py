"""NT-EBM: an energy that tilts a flow, taught by chains in the flow's latent space."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, SamplingConfig
from ebmpipe.energies import frozen
from ebmpipe.methods.base import ByKind, Samples, Setup, build_kernel
from ebmpipe.methods.contrastive import told_of_contrast
from ebmpipe.methods.persistence import Drawn, Persistence
from ebmpipe.methods.tilting import NT_EBM, Tilting, TiltingConfig
from ebmpipe.transport import LatentEnergy, independence

#: How much an update changes log ε by, for each unit by which the acceptance misses its target.
ADAPTATION_RATE = 0.05


class NeuralTransportConfig(TiltingConfig):
    """Settings of `NeuralTransport`."""

    steps: int = Field(1, ge=1, description="steps of the kernel per update, in latent space")
    acceptance: float | None = Field(
        0.65, gt=0, lt=1, description="acceptance that the kernel's step size follows while training; null: the step size stays as given"
    )
    independence: int = Field(
        2,
        ge=0,
        description="steps of independence Metropolis in each update, which propose the backbone's samples, after those of the kernel",
    )
    chains: int | None = Field(
        1024,
        ge=1,
        description="number of chains that persist, at least the batch size; null: each update begins its own at the backbone's samples",
    )
    counts_as: int = Field(
        1, ge=1, description="gradient evaluations that one through the backbone counts as in the budget, as `counts_as` of `flow` has it"
    )


class NeuralTransport(Tilting):
    """Maximum likelihood of p ∝ exp(-f) q with q a flow that stays as it is, and chains in its latent space (Nijkamp et al. 2022).

    With x = g(z) the law of z is exp(-f(g(z))) N(z; 0, I): a Gaussian, tilted by no more than f corrects the flow, which chains cross
    where in data space they would be caught in modes. f is learned as any energy is, by the contrast of data and negatives g(z). Chains
    persist, and besides those of the kernel they take steps to where the backbone itself would have them. The own sampler's step size is
    the one that training came to.
    """

    name = "neural_transport"
    revision = 3
    title = "NT-EBM"
    references = (NT_EBM,)
    Config = NeuralTransportConfig
    config: NeuralTransportConfig
    settings_by_kind: ClassVar[ByKind] = {
        # Otherwise the energy is soon steeper than chains can follow: on MNIST, in twenty updates.
        "images": {"counts_as": 8, "independence": 1, "spectral_norm": 3, "optimiser": {"learning_rate": 4e-4}}
    }

    log_step: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        config = self.config
        if config.acceptance is not None and not self.kernel.adjusted:
            raise ValueError(f"{self.kernel.name} accepts everything: leave its step size as it is by `acceptance: null`, or take hmc")
        if config.chains is not None and config.chains < config.batch_size:
            raise ValueError(f"{self.name} needs at least as many chains as the batch has examples: {config.chains} < {config.batch_size}")
        self.register_buffer("log_step", torch.tensor(self.kernel.step_size).log())
        self.persistence = None if config.chains is None else Persistence(self.fresh(config.chains, setup.generator))

    @cached_property
    def kernel(self) -> samplers.Kernel:
        return build_kernel(self.config.kernel, self.config.steps, "vectors")

    @property
    def adapted(self) -> samplers.Kernel:
        """The same with the step size that acceptances so far have led to."""
        return self.kernel if self.config.acceptance is None else self.kernel.with_step_size(float(self.log_step.exp()))

    @property
    def own_sampling(self) -> SamplingConfig:
        adapted = KernelConfig(name=self.kernel.name, settings=self.config.kernel.settings | {"step_size": self.adapted.step_size})
        return SamplingConfig(kernel=adapted, steps=self.config.own_steps)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Steps of the kernel, and f at those of independence Metropolis; then data and negatives once, in the weights."""
        config = self.config
        through = self.kernel.cost(config.steps) + self.beside
        return config.batch_size * (through * config.counts_as + 2)

    @property
    def ends_known(self) -> bool:
        """Whether the kernel leaves E where its chains end."""
        return self.kernel.adjusted and self.kernel.one_point_per_chain

    @property
    def beside(self) -> int:
        """Evaluations of f in an update by independence Metropolis: at each step, and where it begins if that is not known."""
        steps = self.config.independence
        return steps + (not self.ends_known) if steps else 0

    @property
    def random_cost(self) -> bool:
        return self.kernel.random_cost

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        config, n, report = self.config, len(batch), {}
        drawn = None if self.persistence is None else self.persistence.draw(n, generator)
        z = self.fresh(n, generator) if drawn is None else drawn.x
        energy = LatentEnergy(self.live, self.law)
        with frozen(self.live), torch.no_grad():
            z, summary = samplers.run(self.adapted, energy, z, config.steps, generator)
            if config.independence:
                value = summary.state.energy if self.ends_known else None
                z, report["independence_acceptance"] = independence(energy, z, config.independence, generator, value)
            negatives = energy.carried(z)
        x = torch.cat([batch, negatives])
        energies = self.live(x)
        on_data, on_negatives = (part.mean() for part in energies.split(n))
        report |= self.update(on_data - on_negatives, energies, x) | told_of_contrast(on_data, on_negatives, self.kernel, summary)
        if self.random_cost:
            report["gradient_evaluations"] = config.counts_as * (summary.gradient_evaluations + n * self.beside) + 2 * n
        return report | self.kept(drawn, z, summary)

    def kept(self, drawn: Drawn | None, z: Tensor, summary: samplers.Summary) -> dict[str, Any]:
        """Write chains back, and follow the acceptance, once an update has been found good. Returns diagnostics."""
        report: dict[str, Any] = {"step_size": self.log_step.exp()}
        if self.config.acceptance is not None:
            self.log_step += ADAPTATION_RATE * (summary.acceptance - self.config.acceptance)
        if self.persistence is None or drawn is None:
            return report
        self.persistence.put_back(drawn, z, self.config.steps + self.config.independence)
        return report | dict(self.persistence.diagnostics())

    def chains(self) -> Samples | None:
        if self.persistence is None:
            return None
        with torch.no_grad():
            x = self.law.carried(self.persistence.positions)
        steps = round(float(self.persistence.ages.double().mean()))
        return Samples(x, "latent chains of training", sampler_steps=steps, notes={"kernel": self.config.kernel.model_dump(mode="json")})
