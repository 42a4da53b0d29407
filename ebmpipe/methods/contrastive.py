"""Maximum likelihood with negative samples from a Markov chain: what all its variants share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, MethodConfig
from ebmpipe.energies import BasedEnergy, GaussianLaw, Law, frozen
from ebmpipe.learned_base import LearnedGaussian
from ebmpipe.methods.base import EnergyMethod, Samples, Setup, build_kernel
from ebmpipe.methods.persistence import Drawn, Persistence
from ebmpipe.samplers import Summary

#: What chains on images need: data smoothed by noise, and Langevin steps of a size to match. See Energies in docs/architecture.md.
ON_IMAGES: Mapping[str, Any] = {"batch_size": 100, "data_noise": 0.3, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}}


class ContrastiveConfig(MethodConfig):
    """Settings of every method that runs a Markov chain in each update."""

    batch_size: int = Field(128, ge=1, description="examples per update")
    steps: int = Field(10, ge=1, description="steps of the kernel per update")
    kernel: KernelConfig = Field(KernelConfig(name="mala", settings={"step_size": 0.25}), description="the kernel that moves the chains")
    cross_entropy: float | None = Field(
        None,
        gt=0,
        description="weight of the cross-entropy of a classifier that is the energy itself: E = -logsumexp of one logit for each class "
        "(JEM; labelled data only); null: no classifier, one output",
    )
    learned_base: bool = Field(
        False,
        description="mean and width of the energy's Gaussian base are learned along, of every coordinate by itself, from those of the data "
        "on, where chains then start too; in the whole space only",
    )


def told_of_contrast(on_data: Tensor, on_negatives: Tensor, kernel: samplers.Kernel, summary: Summary) -> dict[str, Any]:
    """What an update reports of its contrast and of the chains that made the negatives, as far as the kernel has it to tell.

    Args:
        on_data: mean energy of the data, in nats.
        on_negatives: that of the negatives.
        kernel: what moved the chains.
        summary: of their run.
    """
    on_data, on_negatives = on_data.detach(), on_negatives.detach()
    report = {"d_t": on_data - on_negatives, "r_t": summary.gradient_norm, "energy_data": on_data, "energy_negative": on_negatives}
    if kernel.adjusted:
        report["acceptance"] = summary.acceptance
    if summary.swaps is not None:
        report["swaps"] = summary.swaps
    if summary.clipped:
        report["clipped"] = summary.clipped
    return report


@dataclass(frozen=True)
class Negatives:
    """Negative samples of one update.

    Attributes:
        x: positions, (n, *event).
        summary: what the run of the kernel that made them reports.
        drawn: the persistent chains that they were before, if they are any.
        cost: input gradients that they took, if those of ``summary`` are not all.
        grids: negative samples of coarser grids, if there are any.
        through: ``x`` as a function of the weights, for losses that look at how the chains depend on them.
        weights: what each counts in the model's expectation, (n,), summing to 1; None if all count the same.
    """

    x: Tensor
    summary: Summary
    drawn: Drawn | None = None
    cost: int | None = None
    grids: list[Tensor] | None = None
    through: Tensor | None = None
    weights: Tensor | None = None


class Contrastive(EnergyMethod):
    """Follows the gradient of the log-likelihood, -∂E(x) + E_p[∂E], with the model's expectation taken over a chain's last positions.

    Reports ``d_t``, the mean energy of data less that of negatives, which swings about zero in a stable training, and ``r_t``, the
    mean norm of ∇E along the chains, which tells whether noise or drift moves them (Nijkamp et al. 2020). The loss is d_t plus
    penalties: it is no measure of progress.

    With ``cross_entropy`` the energy is that of a joint law of examples and classes, E(x) = -log Σ_y exp l_y(x), and the loss has
    -log p(y | x) of the labels beside the contrast: together -log p(x, y) = -log p(x) - log p(y | x), of which chains estimate the first
    gradient and the second is exact (Grathwohl et al. 2020, eq. 9). Both see the same examples, with the noise that smooths them, in one
    forward pass. At the chains' temperature T the law of x is exp(-E/T)/Z, of which the contrast has T times the gradient of -log p(x),
    while p(y | x) is the softmax of the logits whatever T is: a weight of T makes the sum T times the gradient of -log p(x, y).
    Reports the ``cross_entropy`` in nats and the ``training_accuracy``, both of the update's own batch.

    With ``learned_base`` the law that the energy tilts is a `LearnedGaussian`, whose weights are updated, averaged and kept like those of
    the network (Neklyudov, Jaini & Welling 2021). `base` is then what that one begins as, and stays it.
    """

    Config = ContrastiveConfig
    config: ContrastiveConfig

    @cached_property
    def kernel(self) -> samplers.Kernel:
        """What moves the chains. Its temperature decides how the energy is made."""
        # Only particle dynamics may take no step at all, and then the kernel need not come to its target.
        return build_kernel(self.config.kernel, self.config.steps or None, self.spec.kind)

    def base_of(self, setup: Setup) -> Law:
        """With a learned base what that begins as, the Gaussian of the data's own mean and standard deviation.

        Raises:
            ValueError: if a learned base is asked for on a box or on states, whose bases are uniform.
        """
        if not self.config.learned_base:
            return super().base_of(setup)
        if self.config.support == "box" or setup.spec.kind == "binary":
            where = "the box" if self.config.support == "box" else "states"
            raise ValueError(f"learned_base is of a Gaussian, and the base on {where} is uniform: leave it out there")
        return GaussianLaw.of(setup.spec, 1.0)

    def made(self, setup: Setup) -> nn.Module:
        if not self.config.learned_base:
            return super().made(setup)
        return BasedEnergy(self.network(setup, setup.spec), setup.spec, LearnedGaussian.of(setup.spec), self.temperature)

    @property
    def tilted(self) -> Law:
        """A learned base with its averaged weights, as `energy` has it; else `base`."""
        if not self.config.learned_base:
            return super().tilted
        base = self.learner.average.get_submodule("base")
        assert isinstance(base, Law)
        return base

    @property
    def classes(self) -> int | None:
        if self.config.cross_entropy is None:
            return None
        if self.spec.classes is None:
            raise ValueError(f"cross_entropy trains a classifier, and {self.spec.name} has no labels: leave it out there")
        return self.spec.classes

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every step of every chain, then positives and negatives once, the classifier's share of which is no further gradient."""
        return self.config.batch_size * (self.kernel.cost(self.config.steps) + 2)

    @property
    def random_cost(self) -> bool:
        return self.kernel.random_cost

    @property
    def temperature(self) -> float:
        return self.kernel.temperature

    @abstractmethod
    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        """The negative samples of an update, which changes nothing."""

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        """Called after the update, which refuses what is not finite: here chains are written back. Returns diagnostics."""
        return {}

    def moved(self, start: Tensor, generator: torch.Generator) -> tuple[Tensor, Summary]:
        """Chains from ``start`` (n, *event) after ``steps`` steps under the energy as it now is."""
        with frozen(self.live):
            return samplers.run(self.kernel, self.live, start, self.config.steps, generator)

    def short_chains(self, start: Tensor, generator: torch.Generator, cost: int = 0, sampler: str = "short run") -> Samples:
        """Samples by the chains of training themselves, from ``start`` (n, *event), under the averaged weights.

        Args:
            start: where they start.
            generator: the source of all randomness.
            cost: input gradients that ``start`` took.
            sampler: what they are called.
        """
        with frozen(self):
            x, summary = samplers.run(self.kernel, self.learner.average, start, self.config.steps, generator)
        return Samples(
            self.denoised(x),
            sampler,
            before=x if self.denoises else None,
            acceptance=summary.acceptance if self.kernel.adjusted else None,
            sampler_steps=self.config.steps,
            gradient_evaluations=cost + summary.gradient_evaluations + len(x) * int(self.denoises),
            temperature=self.temperature,
            notes={"kernel": self.config.kernel.model_dump(mode="json")},
        )

    def loss_beside(self, batch: Tensor, negatives: Negatives, generator: torch.Generator) -> Tensor | None:
        """What a variant adds to the contrast of energies, in nats, if anything."""
        return None

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        if self.classifies:
            raise ValueError(f"{self.name} with cross_entropy learns from labels: its updates are `labelled_step`")
        return self._updated(batch, None, generator)

    def labelled_step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Any]:
        return self._updated(batch, labels, generator)

    def evaluated(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Energies (n,) of data and negatives, the weighted cross-entropy of the data, which come first, and what it reports."""
        if labels is None:
            return self.live(x), None, {}
        assert self.config.cross_entropy is not None
        energies, logits = self.live.with_logits(x)  # type: ignore[operator]
        on_data = logits[: len(labels)]
        cross_entropy = functional.cross_entropy(on_data, labels)
        report = {"cross_entropy": cross_entropy.detach(), "training_accuracy": (on_data.argmax(1) == labels).double().mean()}
        return energies, self.config.cross_entropy * cross_entropy, report

    def _updated(self, batch: Tensor, labels: Tensor | None, generator: torch.Generator) -> dict[str, Any]:
        """One update; with ``labels`` (n,) that of the joint law."""
        negatives = self.negatives(batch, generator)
        beside = self.loss_beside(batch, negatives, generator)
        # One forward pass for both halves: at this size the calls cost more than the arithmetic.
        x = torch.cat([batch, negatives.x])
        energies, of_classes, classified = self.evaluated(x, labels)
        data, negative = energies.split([len(batch), len(negatives.x)])
        on_data = data.mean()
        on_negatives = negative.mean() if negatives.weights is None else (negatives.weights * negative).sum()
        contrast = on_data - on_negatives
        loss = sum((term for term in (beside, of_classes) if term is not None), start=contrast)
        report = self.update(loss, energies, x)
        report |= told_of_contrast(on_data, on_negatives, self.kernel, negatives.summary)
        if self.random_cost:
            taken = negatives.summary.gradient_evaluations if negatives.cost is None else negatives.cost
            report["gradient_evaluations"] = taken + len(x)
        return report | classified | self.keep(batch, negatives)


class PersistentConfig(ContrastiveConfig):
    """Settings of methods whose chains outlive the update."""

    chains: int = Field(1024, ge=1, description="number of persistent chains, at least the batch size; more of them are a replay buffer")
    restart: float = Field(0.0, ge=0, le=1, description="probability that a drawn chain starts anew")


class Persistent(Contrastive):
    """A contrastive method whose chains go on from update to update, see `Persistence`; they start, and restart, from the base."""

    Config = PersistentConfig
    config: PersistentConfig

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.config.chains < self.config.batch_size:
            raise ValueError(
                f"{self.name} needs at least as many chains as the batch has examples: {self.config.chains} < {self.config.batch_size}"
            )
        self.persistence = Persistence(self.base.sample(self.config.chains, setup.generator))

    def beginnings(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Where chains start anew, one for each example of ``batch``."""
        return self.base.sample(len(batch), generator)

    def drawn(self, batch: Tensor, generator: torch.Generator) -> Drawn:
        """The chains of an update, some of them begun anew."""
        drawn = self.persistence.draw(len(batch), generator)
        if self.config.restart:
            anew = torch.rand(len(batch), generator=generator, device=batch.device) < self.config.restart
            drawn = self.persistence.begun_anew(drawn, anew, self.beginnings(batch, generator))
        return drawn

    def negatives(self, batch: Tensor, generator: torch.Generator) -> Negatives:
        drawn = self.drawn(batch, generator)
        return Negatives(*self.moved(drawn.x, generator), drawn)

    def keep(self, batch: Tensor, negatives: Negatives) -> dict[str, Any]:
        assert negatives.drawn is not None
        self.persistence.put_back(negatives.drawn, negatives.x, self.config.steps)
        return dict(self.persistence.diagnostics())

    def chains(self) -> Samples:
        steps = self.persistence.ages.double().mean()
        kernel = self.config.kernel.model_dump(mode="json")
        return Samples(
            self.persistence.positions,
            "chains of training",
            sampler_steps=round(float(steps)),
            temperature=self.temperature,
            notes={"kernel": kernel},
        )
