"""Learned Stein discrepancy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import MethodConfig, OptimiserConfig
from ebmpipe.derivatives import slope
from ebmpipe.energies import Watched
from ebmpipe.event_map import EventMap, EventMapConfig
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Setup
from ebmpipe.optimisation import Learner, Update, apply_all
from ebmpipe.spec import DataSpec


def stein_statistic(x: Tensor, score: Tensor, critic: Callable[[Tensor], Tensor], v: Tensor) -> tuple[Tensor, Tensor]:
    """s(x)·f(x) + vᵀ ∂f v, whose mean over v is s·f + div f, and ‖f‖² for each example, (n,) both.

    For every critic f that vanishes at infinity the first is zero in the mean over the law whose score is s (Stein's identity).
    With λ‖f‖² taken off, the largest that it can be over data is E‖s - ∇log p_data‖² / 4λ, at f = (s - ∇log p_data) / 2λ
    (Grathwohl et al. 2020).

    Args:
        x: examples (n, *event).
        score: s at each, shape of ``x``.
        critic: f, differentiable, (n, *event) -> (n, *event).
        v: directions with mean 0 and covariance I, shape of ``x``.
    """
    x = x.detach().requires_grad_(True)
    value = critic(x)
    (along,) = torch.autograd.grad((value * v).sum(), x, create_graph=True)
    statistic = (score * value).flatten(1).sum(1) + (along * v).flatten(1).sum(1)
    return statistic, value.flatten(1).square().sum(1)


def seen_by_critic(score: Tensor, critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean of s·f over examples, a scalar, with f held fixed: all of the discrepancy that depends on the energy, whose loss it is.

    Args:
        score: s at each example, shape of ``x``, differentiable in the weights.
        critic: f.
        x: examples (n, *event).
    """
    with torch.no_grad():
        direction = critic(x)
    return (score * direction).flatten(1).sum(1).mean()


class Critic(nn.Module):
    """f(x) = h((x - m)/s) / s: a network in units in which the data have mean 0 and variance 1, as scores scale."""

    def __init__(self, spec: DataSpec, config: EventMapConfig) -> None:
        super().__init__()
        self.map = EventMap(spec.dimension, spec.shape, config)
        self.mean, self.std = spec.mean, spec.std

    def forward(self, x: Tensor) -> Tensor:
        """f, shape of ``x``."""
        value: Tensor = self.map((x - self.mean) / self.std)
        return value / self.std


class LearnedSteinConfig(MethodConfig):
    """Settings of `LearnedStein`."""

    critic: EventMapConfig = Field(EventMapConfig(learning_rate=2e-3), description="the critic")
    critic_steps: int = Field(3, ge=1, description="updates of the critic for each of the energy")
    penalty: float = Field(
        2.0,
        gt=0,
        description="λ; at ½ the best critic is the difference of the scores, the larger the quicker it follows: small ones oscillate",
    )
    optimiser: OptimiserConfig = Field(OptimiserConfig(learning_rate=1e-3), description="how the energy network is updated")


class LearnedStein(EnergyMethod):
    """Pushes the model's score the way that a critic, trained to find where it differs from the data's, says.

    Neither the Laplacian of E is needed nor its kernel: the derivative is the critic's, whose trace is estimated along one random
    direction. It is a game, and only as good as its critic; with the best one it is score matching, and as blind to the weights of modes
    far apart.
    """

    name = "learned_stein"
    revision = 1
    title = "Learned Stein discrepancy"
    references = (
        Reference(
            "W. Grathwohl, K.-C. Wang, J.-H. Jacobsen, D. Duvenaud, R. Zemel",
            "Learning the Stein discrepancy for training and evaluating energy-based models without sampling",
            2020,
            "2002.05616",
        ),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = LearnedSteinConfig
    config: LearnedSteinConfig
    supports = frozenset({"space"})  # on a box the boundary terms do not vanish
    settings_by_kind: ClassVar[ByKind] = {"density": {"batch_size": 1024}, "images": {"data_noise": 0.3}}

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        critic = Critic(setup.spec, self.config.critic)
        self.critic = Learner(critic, self.config.critic.optimiser(self.config.optimiser), setup.iterations * self.config.critic_steps)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Per example ∇ₓE, which the critic's updates share with the energy's, and the gradient of the loss in the weights."""
        return 2 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        energy = Watched(self.live)
        score = -slope(energy, batch)
        for _ in range(self.config.critic_steps):
            v = torch.randint(2, batch.shape, generator=generator, device=batch.device).to(batch) * 2 - 1
            statistic, square = stein_statistic(batch, score.detach(), self.critic.network, v)
            # With the energies watched, so that no critic learns from one that is none. Where the energy's own update is then found bad,
            # the critic keeps what it learned of the last good one.
            (of_critic,) = apply_all(Update(-(statistic - self.config.penalty * square).mean(), self.critic, energy.seen.detach()))
        report = self.update(seen_by_critic(score, self.critic.network, batch), energy.seen, energy.x)
        return {**report, "discrepancy": -of_critic["loss"], "critic_gradient_norm": of_critic["gradient_norm"]}
