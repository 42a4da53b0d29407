"""What one update costs in floating-point operations, before any is made in earnest."""

from __future__ import annotations

import torch
from torch import Tensor

from ebmpipe.batches import update
from ebmpipe.flops import FlopCounter
from ebmpipe.methods.base import Method
from ebmpipe.optimisation import Diverged
from ebmpipe.spec import DataSpec


class MadeUp:
    """Examples of the right shape and scale, in the place of `Batches`: what they are decides nothing of what an update costs.

    Args:
        spec: the data set.
        batch_size: examples per batch.
        device: where they are.
    """

    def __init__(self, spec: DataSpec, batch_size: int, device: str | torch.device) -> None:
        self.spec, self.batch_size, self.device = spec, batch_size, torch.device(device)

    def chosen(self, step: int) -> Tensor:
        """The first examples, (batch_size,)."""
        return torch.arange(self.batch_size, device=self.device)

    def labels_at(self, step: int) -> Tensor:
        """Classes in turn, (batch_size,) int64."""
        return self.chosen(step) % (self.spec.classes or 1)

    def at(self, step: int, generator: torch.Generator) -> Tensor:
        """(batch_size, *event) float32."""
        x = torch.randn(self.batch_size, *self.spec.shape, generator=generator, device=self.device)
        return (x > 0).float() if self.spec.kind == "binary" else self.spec.mean + self.spec.std * x


def flops_per_update(method: Method, spec: DataSpec) -> int:
    """Operations of the first update of ``method``, matrix products and convolutions alone, as ``training_flops`` counts them.

    The update is made, so that ``method`` is of no further use. Where its cost is random, that is one draw of it.

    Raises:
        ValueError: if it has none, or diverges.
    """
    device = next(iter(method.state_dict().values())).device
    generator = torch.Generator(device).manual_seed(0)
    examples = MadeUp(spec, method.config.batch_size, device)
    batch = method.smoothed(examples.at(0, generator), method.config.data_noise, generator)
    try:
        with FlopCounter() as counter:
            update(method, examples, batch, 0, generator)
    except Diverged as divergence:
        raise ValueError(f"the first update of {method.name}, which tells what one costs, diverged: {divergence}") from divergence
    if not counter.total:
        raise ValueError(f"an update of {method.name} has no operations that are counted: give its number of updates")
    return int(counter.total)


def updates_for(method: Method, spec: DataSpec, flops: int) -> int:
    """How many updates ``flops`` operations pay for; 1 of controls, which train nothing.

    Args:
        method: a new one, which is of no further use.
        spec: the data set.
        flops: all that training may take.

    Raises:
        ValueError: if they do not pay for one, or it cannot be told.
    """
    if not method.trains:
        return 1
    each = flops_per_update(method, spec)
    if flops < each:
        raise ValueError(f"training_flops = {flops} does not pay for one update of {method.name}, which costs {each}")
    return flops // each
