"""Training batches: the batch of step t is a function of the seed and t alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from ebmpipe.data.prepared import Prepared, to_model_space
from ebmpipe.methods.base import Method
from ebmpipe.seeding import torch_generator
from ebmpipe.tensors import shared


class Batches:
    """Shuffled epochs of the training split, as batches in model space.

    Every epoch is a new permutation, drawn from the ``batches`` stream by its number; an incomplete last batch is left out,
    so a resumed run needs no more than the step to be where it was.

    Args:
        data: the prepared data set.
        batch_size: examples per batch.
        seed: root seed of the run.
        device: where the whole split is kept; on the CPU it stays in its file, from where each batch is read.
        labelled: whether its labels are kept too.

    Raises:
        ValueError: if the split has fewer examples than a batch, or no labels though they are asked for.
    """

    def __init__(self, data: Prepared, batch_size: int, seed: int, device: str, labelled: bool = False) -> None:
        self.examples = shared(data.split("train")).to(device)
        self.labels = shared(data.labels("train")).to(device) if labelled else None
        self.levels, self.batch_size, self.seed = data.spec.levels, batch_size, seed
        self.per_epoch = len(self.examples) // batch_size
        if not self.per_epoch:
            raise ValueError(f"batch_size {batch_size} exceeds the {len(self.examples)} training examples of {data.spec.name}")

    @lru_cache(maxsize=1)  # noqa: B019 - one object per run, one epoch kept
    def permutation(self, epoch: int) -> Tensor:
        """The order of the training examples in ``epoch``."""
        order = torch.randperm(len(self.examples), generator=torch_generator(self.seed, "batches", epoch))
        return order.to(self.examples.device)

    def chosen(self, step: int) -> Tensor:
        """Which training examples the batch of ``step`` is made of, (batch_size,)."""
        epoch, index = divmod(step, self.per_epoch)
        return self.permutation(epoch)[index * self.batch_size : (index + 1) * self.batch_size]

    def labels_at(self, step: int) -> Tensor:
        """The classes of the examples of ``step``, (batch_size,) int64."""
        if self.labels is None:
            raise ValueError("these batches were made without labels")
        return self.labels[self.chosen(step)]

    def at(self, step: int, generator: torch.Generator) -> Tensor:
        """The batch of ``step``, (batch_size, *event) float32; images are dequantised with noise from ``generator``."""
        batch = self.examples[self.chosen(step)]
        if self.levels is None:
            return batch
        u = torch.rand(batch.shape, generator=generator, device=batch.device)
        dequantised: Tensor = to_model_space(batch, self.levels, u)
        return dequantised


class Examples(Protocol):
    """What an update asks of its batches."""

    def chosen(self, step: int) -> Tensor:
        """Which training examples the batch of ``step`` is made of, (batch_size,)."""

    def labels_at(self, step: int) -> Tensor:
        """Their classes, (batch_size,) int64."""


def update(method: Method, examples: Examples, batch: Tensor, step: int, generator: torch.Generator) -> dict[str, Any]:
    """One update by the ``batch`` of ``step``, with all that the method asks to know of its examples."""
    if method.classifies:
        return method.labelled_step(batch, examples.labels_at(step), generator)
    if method.follows_examples:
        return method.followed_step(batch, examples.chosen(step), generator)
    return method.training_step(batch, generator)
