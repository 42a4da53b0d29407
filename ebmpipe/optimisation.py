"""One way to update a network: Adam, schedule, clipping, divergence check, weight average. Every method goes through it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from ebmpipe.config import OptimiserConfig
from ebmpipe.nets.spectral import SpectralNorm, follow_weights


class Diverged(Exception):
    """Training left the region where its numbers mean anything; the text says how. A result, not a crash."""


class Learner(nn.Module):
    """A network with all that updating it needs, as buffers, so that its state dict is a complete checkpoint.

    Args:
        network: what is trained.
        config: the optimiser's settings.
        iterations: length of the schedule in updates.

    Attributes:
        network: the live weights, used in training.
        average: their exponential average, used for evaluation. It follows an average over all updates until that is
            longer than the configured memory, so that short runs do not remember their initial weights.
        fraction: how much of the run is over, in [0, 1), as the training loop says before every update; where nothing does, None, it
            is the updates done over ``iterations``.
    """

    updates: Tensor

    def __init__(self, network: nn.Module, config: OptimiserConfig, iterations: int) -> None:
        super().__init__()
        self.network, self.config, self.iterations = network, config, iterations
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        for index, parameter in enumerate(network.parameters()):
            self.register_buffer(f"first_moment_{index}", torch.zeros_like(parameter))
            self.register_buffer(f"second_moment_{index}", torch.zeros_like(parameter))
            self.register_buffer(f"moment_updates_{index}", torch.zeros((), dtype=torch.float32))
        self._count = 0
        self.fraction: float | None = None

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = int(self.updates)

    @property
    def over(self) -> float:
        """How much of the run is over: 0 at the first update, below 1 at the last."""
        return self._count / max(1, self.iterations) if self.fraction is None else self.fraction

    @property
    def descends(self) -> bool:
        """Whether the coming update is one of plain gradient descent in place of Adam."""
        return self.over >= self.config.sgd_after

    def learning_rate(self) -> float:
        """The learning rate of the coming update."""
        config, step = self.config, self._count
        peak = config.sgd_learning_rate if self.descends else config.learning_rate
        rate = peak * min(1.0, (step + 1) / (config.warmup + 1))
        if config.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, self.over)))
        return rate

    def moments(self, kind: str) -> list[Tensor]:
        """The buffers ``{kind}_0``, ``{kind}_1``, ... in the order of the parameters."""
        return [getattr(self, f"{kind}_{index}") for index, _ in enumerate(self.network.parameters())]

    @torch.no_grad()
    def update(self, gradients: list[Tensor]) -> None:
        """One update of the weights with ``gradients``, then one of their average."""
        parameters: list[Tensor] = list(self.network.parameters())
        if self.descends:
            if self.config.weight_decay:
                torch._foreach_add_(gradients, parameters, alpha=self.config.weight_decay)
            torch._foreach_add_(parameters, gradients, alpha=-self.learning_rate())
        else:
            adam(
                parameters,
                gradients,
                self.moments("first_moment"),
                self.moments("second_moment"),
                [],
                self.moments("moment_updates"),
                # The fused kernel is three times faster than the loop and exists for every device and type that we use.
                fused=True,
                amsgrad=False,
                beta1=self.config.betas[0],
                beta2=self.config.betas[1],
                lr=self.learning_rate(),
                weight_decay=self.config.weight_decay,
                eps=self.config.epsilon,
                maximize=False,
            )
        self._count += 1
        self.updates.fill_(self._count)
        decay = min(self.config.average_decay, self._count / (self._count + 10))
        averages: list[Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averages, parameters, 1 - decay)
        for mean, live in zip(self.average.modules(), self.network.modules(), strict=True):
            if not isinstance(live, SpectralNorm):  # the singular vectors of an average are its own
                for kept, new in zip(mean.buffers(recurse=False), live.buffers(recurse=False), strict=True):
                    kept.copy_(new)
        follow_weights(self.network)
        follow_weights(self.average)


def within(value: float, bound: float, what: str) -> float:
    """``value``.

    Raises:
        Diverged: naming ``what``, if it is not finite or beyond ``bound`` in absolute value.
    """
    if not math.isfinite(value):
        raise Diverged(f"{what} is {value}")
    if abs(value) > bound:
        raise Diverged(f"{what}, {value:.4g}, is beyond the bound {bound:.4g}")
    return value


class Update(NamedTuple):
    """What one learner is to be updated by.

    Attributes:
        loss: a scalar, in nats, which is minimised.
        learner: whose weights.
        energies: the energies that the loss was made from, in nats, any shape; their size is watched. None for a loss of no energies.
    """

    loss: Tensor
    learner: Learner
    energies: Tensor | None = None


def laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """``gradient`` with its numbers in the order in memory that those of ``parameter`` have.

    Fused kernels pair them by that order. Gradients that were differentiated twice through a convolution come in another one than weights
    in channels-last layout have; a GPU then refuses, and a CPU takes each for another's.
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def differentiated(updates: tuple[Update, ...]) -> list[list[Tensor]]:
    """The gradient of each loss in its learner's weights; of a loss that several share, in one pass."""
    found: dict[int, Iterator[Tensor]] = {}
    for loss in {id(update.loss): update.loss for update in updates}.values():
        parameters = [p for update in updates if update.loss is loss for p in update.learner.network.parameters()]
        # A parameter that the loss does not see, as score matching does not see the offset of E, has gradient zero.
        found[id(loss)] = iter(torch.autograd.grad(loss, parameters, materialize_grads=True))
    return [[laid_out_as(p, next(found[id(update.loss)])) for p in update.learner.network.parameters()] for update in updates]


def checked(update: Update, gradients: list[Tensor]) -> dict[str, float]:
    """Clip ``gradients``; returns the ``loss`` and the Euclidean ``gradient_norm`` before clipping.

    Raises:
        Diverged: if the loss, its gradient or an energy is not finite or beyond its configured bound.
    """
    loss, learner, energies = update
    config = learner.config
    watched = loss.new_zeros(()) if energies is None or not energies.numel() else energies.detach().abs().amax()
    # One transfer from a GPU for both.
    value, largest = torch.stack([loss.detach(), watched.to(loss)]).tolist()
    within(largest, config.energy_bound, "the largest energy")
    within(value, config.loss_bound, "the loss")
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    size = within(norm.item(), config.gradient_bound, "the gradient's norm")
    clip = config.gradient_clip
    if clip is not None and size > clip:
        torch._foreach_mul_(gradients, clip / size)
    return {"loss": value, "gradient_norm": size}


def apply_all(*updates: Update) -> list[dict[str, float]]:
    """Update several learners at once, each by its own loss; losses share a graph only if they are the same.

    Returns:
        of each ``loss`` and ``gradient_norm`` (Euclidean, before clipping).

    Raises:
        Diverged: if a loss, a gradient or an energy is not finite or beyond its configured bound. All weights are then still those of the
            last good update.
    """
    found = differentiated(updates)
    reports = [checked(update, gradients) for update, gradients in zip(updates, found, strict=True)]
    for update, gradients in zip(updates, found, strict=True):
        update.learner.update(gradients)
    return reports


@contextmanager
def undone_by_divergence(*learners: Learner) -> Iterator[None]:
    """Put ``learners`` back to what they were if what is done inside raises `Diverged`: for updates that cannot all be made at once."""
    kept = [{name: value.clone() for name, value in learner.state_dict().items()} for learner in learners]
    try:
        yield
    except Diverged:
        for learner, state in zip(learners, kept, strict=True):
            learner.load_state_dict(state)
        raise


def apply_gradients(loss: Tensor, learner: Learner, energies: Tensor | None = None) -> dict[str, float]:
    """`apply_all` of one learner."""
    return apply_all(Update(loss, learner, energies))[0]
