"""Examples with noise about them, for losses that compare the energies of the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

#: A standard deviation of noise, in units of the data's.
Scale = Annotated[float, Field(gt=0)]


def with_neighbours(batch: Tensor, scales: Sequence[float], std: float, generator: torch.Generator) -> Tensor:
    """Examples and below them, in the same order, each with Gaussian noise of one of ``scales``, drawn evenly: (2n, *event).

    The law of the noise is symmetric in the two, so that its density cancels wherever they are compared.

    Args:
        batch: examples (n, *event).
        scales: standard deviations in units of ``std``.
        std: the data's standard deviation.
        generator: of the noise.
    """
    widths = batch.new_tensor(scales) * std
    chosen = widths[torch.randint(len(widths), (len(batch),), generator=generator, device=batch.device)]
    z = torch.randn(batch.shape, generator=generator, device=batch.device, dtype=batch.dtype)
    return torch.cat([batch, batch + chosen.view(-1, *[1] * (batch.dim() - 1)) * z])
