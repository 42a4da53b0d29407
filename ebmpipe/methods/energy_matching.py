"""Energy matching."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ebmpipe import samplers
from ebmpipe.config import KernelConfig, MethodConfig
from ebmpipe.derivatives import slope
from ebmpipe.energies import Energy, Watched, frozen, gradient
from ebmpipe.methods.base import CHUNK, ByKind, EnergyMethod, Reference, Samples, Setup, build_kernel
from ebmpipe.methods.contrastive import told_of_contrast


def paired(start: Tensor, end: Tensor) -> Tensor:
    """``end`` (n, *event) in the order that makes the mean squared distance to ``start``, of the same shape, the least; time is O(n³)."""
    cost = torch.cdist(start.flatten(1).double(), end.flatten(1).double()).square()
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return end[torch.from_numpy(order).to(end.device)]


def share_of_transport(t: Tensor, cutoff: float) -> Tensor:
    """1 before the time τ* = ``cutoff``, from there linearly down to 0 at t = 1: what transport weighs at ``t``, and 1 - ε(t)/ε_max."""
    return ((1 - t) / (1 - cutoff)).clamp(0, 1)


def transport_loss(energy: Energy, start: Tensor, end: Tensor, t: Tensor, temperature: float) -> Tensor:
    """‖ε ∇E(x_t) + (x₁ - x₀)‖² at x_t = (1 - t) x₀ + t x₁ for each pair, shape (n,): the velocity -∇V of V = ε E against theirs.

    Over all fields the best velocity at x is the mean of x₁ - x₀ among the pairs and times of which x_t = x; among gradients, which do not
    know the time, it is the nearest to that in mean square over the law of x_t.

    Args:
        energy: E, differentiable twice.
        start: x₀, noise (n, *event).
        end: x₁, examples, shape of ``start``.
        t: times in [0, 1], (n,).
        temperature: ε > 0, in data units squared.
    """
    along = t.view(-1, *[1] * (start.dim() - 1))
    return (temperature * slope(energy, torch.lerp(start, end, along)) + (end - start)).flatten(1).square().sum(1)


def transported(energy: Energy, x: Tensor, steps: int, temperature: float, cutoff: float, generator: torch.Generator) -> Tensor:
    """``x`` (n, *event) after a time from 0 to 1 of dx = -∇V dt + √(2 ε(t)) dW with V = ε E, in ``steps`` Euler steps.

    ε(t) is 0 before τ* = ``cutoff`` and rises linearly to ε = ``temperature`` (data units squared) at 1; a step takes that of its end.
    """
    for step in range(1, steps + 1):
        noise = temperature * (1 - float(share_of_transport(torch.tensor(step / steps, dtype=torch.float64), cutoff)))
        x = x - temperature / steps * gradient(energy, x)
        if noise:
            x = x + (2 * noise / steps) ** 0.5 * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return x


class EnergyMatchingConfig(MethodConfig):
    """Settings of `EnergyMatching`."""

    batch_size: int = Field(128, ge=2, description="examples per update")
    temperature: float = Field(
        0.1, gt=0, description="ε_max, in units of the data's variance: what V is divided by to be an energy in nats"
    )
    cutoff: float = Field(0.8, ge=0, lt=1, description="τ*, the time in [0, 1) until which transport has no noise")
    pairing: Literal["optimal", "independent"] = Field("optimal", description="how noise and examples of a batch are paired")
    warm_up: float = Field(0.2, ge=0, le=1, description="fraction of the run in which transport is all that is learned")
    transport_weight: float = Field(
        0.3, ge=0, description="weight of the loss of transport when the contrast sets in, in nats per unit of the data's variance"
    )
    fade_out: float = Field(0.4, ge=0, le=1, description="fraction of the run at which that weight has fallen to zero")
    transport_steps: int = Field(10, ge=1, description="steps from t = 0 to 1 of chains that start at noise")
    steps: int = Field(10, ge=1, description="steps of the kernel from t = 1 on, of all chains")
    kernel: KernelConfig = Field(
        KernelConfig(name="mala", settings={"step_size": 0.25}), description="the kernel that moves the chains from t = 1 on"
    )


class EnergyMatching(EnergyMethod):
    """One potential V that carries noise to the data along straight lines and is, about the data, ε_max times their energy.

    For a first share of the run -∇V is fitted to the velocities of noise on its way to examples, which time-free V takes for one flow.
    Then a contrast is added, E_data E - E_neg E with E = V/ε_max, the gradient of the log-likelihood of exp(-E) where the negatives are its
    samples: one half of them are chains that start at the batch, the other half start at noise and are carried through t = 0 to 1, in which
    the temperature rises from 0 to ε_max. From t = 1 on both run a kernel for exp(-E) itself (Balcerak et al. 2025).

    Transport asks something else of V than the law does wherever it passes, which is the more felt the nearer to the data. Hence its loss
    fades out of the times from τ* to 1, as published, and, which is not, its weight falls linearly to 0 by a fraction of the run: the law
    that is learned from there on is the contrast's. Published chains take Langevin steps without rejection from t = 1 on too.

    Reports ``d_t`` and ``r_t`` as `Contrastive` does, in the second phase, and ``transport``, the loss of transport per unit of variance.
    """

    name = "energy_matching"
    revision = 1
    title = "Energy matching"
    references = (
        Reference(
            "M. Balcerak, T. Amiranashvili, A. Terpin, S. Shit, L. Bogensperger, S. Kaltenbach, P. Koumoutsakos, B. Menze",
            "Energy matching: unifying flow matching and energy-based models for generative modeling",
            2025,
            "2504.10612",
        ),
    )
    Config = EnergyMatchingConfig
    config: EnergyMatchingConfig
    supports = frozenset({"space"})  # noise on its way to the data comes from beyond every box
    settings_by_kind: ClassVar[ByKind] = {
        # A law about as wide as the noise is come to in a time of about its variance over ε_max, where one of narrow parts takes less.
        "vectors": {"temperature": 0.5, "steps": 20, "kernel": {"name": "mala", "settings": {"step_size": 0.6}}},
        "images": {"data_noise": 0.3, "kernel": {"name": "mala", "settings": {"step_size": 0.2}}},
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.kernel = build_kernel(self.config.kernel, self.config.steps, self.spec.kind)
        if self.kernel.temperature != 1:
            raise ValueError(
                f"{self.name} samples at temperature 1 once it has come to the data; that of its kernel is {self.kernel.temperature:g}"
            )
        self.variance = self.spec.std**2
        self.epsilon = self.config.temperature * self.variance

    @property
    def random_cost(self) -> bool:
        """Updates of the first phase run no chains."""
        return True

    @property
    def gradient_evaluations_per_step(self) -> int:
        """The most: transport's ∇ₓE and its gradient in the weights, all chains, then positives and negatives once in the weights."""
        config = self.config
        return config.batch_size * (2 + self.kernel.cost(config.steps) + 2) + config.batch_size // 2 * config.transport_steps

    @property
    def transport_weight(self) -> float:
        """What the loss of transport weighs beside the contrast: it falls linearly from the end of the first phase to `fade_out`."""
        begin, end, over = self.config.warm_up, self.config.fade_out, self.learner.over
        return self.config.transport_weight * (end - over) / (end - begin) if over < end else 0.0

    def transport(self, batch: Tensor, cutoff: float | None, generator: torch.Generator) -> tuple[Tensor, Watched]:
        """The mean loss of transport to ``batch`` (n, *event) per unit of variance, and the energies it was made from.

        Args:
            batch: examples.
            cutoff: τ*, from which on it fades; None: it does not.
            generator: the source of all randomness.
        """
        start = self.base.sample(len(batch), generator).to(batch)
        t = torch.rand(len(batch), generator=generator, device=batch.device, dtype=batch.dtype)
        if self.config.pairing == "optimal":
            batch = paired(start, batch)
        energy = Watched(self.live)
        losses = transport_loss(energy, start, batch, t, self.epsilon) / self.variance
        return (losses if cutoff is None else share_of_transport(t, cutoff) * losses).mean(), energy

    def from_noise(self, energy: Energy, n: int, generator: torch.Generator) -> Tensor:
        """``n`` positions (n, *event) that were carried from noise through t = 0 to 1."""
        start = self.base.sample(n, generator).to(next(self.live.parameters()))
        return transported(energy, start, self.config.transport_steps, self.epsilon, self.config.cutoff, generator)

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        config, n = self.config, len(batch)
        if self.learner.over < config.warm_up:
            loss, energy = self.transport(batch, None, generator)
            return self.update(loss, energy.seen, energy.x) | {"transport": loss.detach(), "gradient_evaluations": 2 * n}
        with frozen(self.live):
            start = torch.cat([batch[: n - n // 2], self.from_noise(self.live, n // 2, generator)])
            negative, summary = samplers.run(self.kernel, self.live, start, config.steps, generator)
        x = torch.cat([batch, negative])
        energies = seen = self.live(x)
        on_data, on_negatives = (part.mean() for part in energies.chunk(2))
        contrast = loss = on_data - on_negatives
        report = told_of_contrast(on_data, on_negatives, self.kernel, summary)
        evaluations = summary.gradient_evaluations + 2 * n + n // 2 * config.transport_steps
        if weight := self.transport_weight:
            transport, energy = self.transport(batch, config.cutoff, generator)
            loss, seen, x = contrast + weight * transport, torch.cat([energies, energy.seen]), torch.cat([x, energy.x])
            report["transport"], evaluations = transport.detach(), evaluations + 2 * n
        return report | self.update(loss, seen, x) | {"gradient_evaluations": evaluations}

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples by the schedule: from noise through t = 0 to 1, then by the kernel."""
        config, energy, found, acceptance, evaluations = self.config, self.energy_function(), [], 0.0, n * self.config.transport_steps
        with frozen(self):
            for first in range(0, n, CHUNK):
                start = self.from_noise(energy, min(CHUNK, n - first), generator)
                x, summary = samplers.run(self.kernel, energy, start, config.steps, generator)
                acceptance += summary.acceptance * len(x) / n
                evaluations += summary.gradient_evaluations
                found.append(x)
        x = torch.cat(found)
        return Samples(
            self.denoised(x),
            "transport",
            before=x if self.denoises else None,
            acceptance=acceptance if self.kernel.adjusted else None,
            sampler_steps=config.transport_steps + config.steps,
            gradient_evaluations=evaluations + n * int(self.denoises),
            notes={"kernel": config.kernel.model_dump(mode="json")},
        )
