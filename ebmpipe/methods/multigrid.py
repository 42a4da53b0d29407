"""Energies of coarser grids of an image, each of which hands its samples to the next finer one."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebmpipe import samplers
from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy
from ebmpipe.nets.base import build_network
from ebmpipe.samplers import Kernel
from ebmpipe.spec import DataSpec

#: Grey values kept for the coarsest grid: enough for a histogram.
KEPT = 1024


def pooled(x: Tensor, side: int) -> Tensor:
    """Images (n, channels, height, width) averaged over blocks to (n, channels, side, side)."""
    return functional.avg_pool2d(x, (x.shape[2] // side, x.shape[3] // side))


def spread(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images with every pixel repeated until they have ``shape`` (channels, height, width)."""
    return x.repeat_interleave(shape[1] // x.shape[2], 2).repeat_interleave(shape[2] // x.shape[3], 3)


class Multigrid(nn.Module):
    """Chains from coarse to fine (Gao et al. 2018): one grey value per channel, then grids of growing side, each started below.

    Args:
        sides: sides of the grids in pixels, ascending; each divides the next and the image.
        spec: the data.

    Raises:
        ValueError: if they are no images, or the sides do not fit them.
    """

    coarsest: Tensor

    def __init__(self, sides: tuple[int, ...], spec: DataSpec) -> None:
        super().__init__()
        if spec.kind != "images":
            raise ValueError(f"a multi-grid start needs images; {spec.name} is {spec.kind}")
        image = min(spec.shape[1:])
        chain = (1, *sides, image)
        if any(fine % coarse or fine == coarse for coarse, fine in pairwise(chain)) or spec.shape[1] != spec.shape[2]:
            raise ValueError(f"grids = {sides} do not fit images of shape {spec.shape}: each side must divide the next, and the image's")
        self.sides, self.shape = sides, spec.shape
        self.register_buffer("coarsest", torch.full((KEPT, spec.shape[0], 1, 1), spec.mean))

    @staticmethod
    def energies(sides: tuple[int, ...], spec: DataSpec, width: int, temperature: float = 1.0) -> nn.ModuleList:
        """The energies of the grids, to be sampled at ``temperature``: MLPs of two layers of ``width`` units on Gaussian bases."""
        specs = [replace(spec, shape=(spec.shape[0], side, side)) for side in sides]
        network = NetworkConfig(name="mlp", settings={"width": width, "depth": 2})
        return nn.ModuleList(BasedEnergy(build_network(network, coarse), coarse, temperature=temperature) for coarse in specs)

    def chains(
        self, energies: nn.ModuleList, x: Tensor, kernel: Kernel, steps: int, generator: torch.Generator
    ) -> tuple[list[Tensor], Tensor, int]:
        """Samples of every grid, where chains of the image itself start, and the input gradients taken.

        Args:
            energies: those of the grids, frozen.
            x: grey values (n, channels, 1, 1) to start from.
            kernel: what moves the chains.
            steps: steps on each grid.
            generator: the source of all randomness.
        """
        samples, cost = [], 0
        for side, energy in zip(self.sides, energies, strict=True):
            x, summary = samplers.run(kernel, energy, spread(x, (x.shape[1], side, side)), steps, generator)
            samples.append(x)
            cost += summary.gradient_evaluations
        return samples, spread(x, self.shape), cost

    def loss(
        self, energies: nn.ModuleList, batch: Tensor, samples: list[Tensor], noise: float, penalty: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Σ over grids of mean E(pooled data) - mean E(samples) + ``penalty`` · mean (E - T base)², in nats, and the largest |E|.

        Pooling averages the noise of standard deviation ``noise`` in the batch away; what it took is added again, because densities
        that get narrower from grid to grid would each ask for steps of their own.
        """
        terms, largest = [], []
        for side, energy, negative in zip(self.sides, energies, samples, strict=True):
            assert isinstance(energy, BasedEnergy)
            lost = noise * math.sqrt(1 - (side / self.shape[1]) ** 2)
            z = torch.randn(negative.shape, generator=generator, device=negative.device)
            x = torch.cat([pooled(batch, side) + lost * z, negative])
            values = energy(x)
            on_data, on_negatives = values.split([len(batch), len(negative)])
            terms.append(on_data.mean() - on_negatives.mean())
            if penalty:
                terms.append(penalty * (values - energy.temperature * energy.base(x)).square().mean())
            largest.append(values.detach().abs().amax())
        return torch.stack(terms).sum(), torch.stack(largest).amax()

    def remember(self, batch: Tensor, update: int) -> None:
        """Keep the batch's grey values, from which samples will start."""
        slots = (update * len(batch) + torch.arange(len(batch), device=batch.device)) % KEPT
        self.coarsest[slots] = pooled(batch, 1)

    def remembered(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` of the grey values kept, drawn with replacement."""
        return self.coarsest[torch.randint(KEPT, (n,), generator=generator, device=generator.device)]
