"""Glow: a multi-scale flow of images."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.flows.base import Flow, FlowSettings
from ebmpipe.flows.glow_steps import ActNorm, AffineCoupling, InvertibleConvolution, Step, squeezed, unsqueezed
from ebmpipe.spec import Kind

#: Most levels, where their number is not given.
LEVELS = 3


class GlowConfig(FlowSettings):
    """Settings of `Glow`."""

    levels: int | None = Field(
        None, ge=1, description="resolutions, each half of the one before; null: as many as the sides allow, at most 3"
    )
    depth: int = Field(8, ge=1, description="steps of flow at each resolution")
    width: int = Field(64, ge=1, description="channels of the hidden layers of couplings")
    bound: float = Field(1.0, gt=0, description="largest logarithm of the factor by which a coupling stretches or shrinks")


def halvings(shape: tuple[int, ...]) -> int:
    """How often both sides of images (channels, height, width) can be halved to whole numbers."""
    sides, count = shape[1:], 0
    while all(side % 2 == 0 for side in sides):
        sides, count = tuple(side // 2 for side in sides), count + 1
    return count


def standard_levels(shape: tuple[int, ...]) -> int:
    """Resolutions for images (channels, height, width) where their number is not given: at most three, of two pixels or more on a side."""
    return sum(min(shape[1:]) >> halved >= 2 for halved in range(1, min(halvings(shape), LEVELS) + 1))


class Level(nn.Module):
    """What happens at one resolution: squares of pixels become channels, then steps of actnorm, 1×1 convolution and coupling.

    Where the flow goes on at a coarser one, half of the channels leave, as numbers that are Gaussian given those that stay: a last
    coupling sees to it, as the learned prior of Kingma & Dhariwal (2018) does.

    Args:
        channels: of the images before they are squeezed.
        config: the flow's settings.
        last: whether no coarser resolution follows.
    """

    def __init__(self, channels: int, config: GlowConfig, last: bool) -> None:
        super().__init__()
        self.channels, self.last = 4 * channels, last
        steps: list[Step] = []
        for _ in range(config.depth):
            coupling = AffineCoupling(self.channels, config.width, config.bound)
            steps += [ActNorm(self.channels), InvertibleConvolution(self.channels), coupling]
        steps.append(ActNorm(self.channels))
        if not last:
            steps.append(AffineCoupling(self.channels, config.width, config.bound))
        self.steps = nn.ModuleList(steps)

    @property
    def staying(self) -> int:
        """Channels that the coarser resolution goes on with; none at the last."""
        return 0 if self.last else self.channels // 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What stays, what leaves, and the log-determinant, (n,)."""
        x, total = squeezed(x), x.new_zeros(len(x))
        for step in self.steps:
            x, log_det = step(x)
            total = total + log_det
        return x[:, : self.staying], x[:, self.staying :], total

    def inverse(self, stayed: Tensor, left: Tensor) -> Tensor:
        """The images of which `forward` makes these."""
        y = torch.cat([stayed, left], dim=1)
        for step in reversed(self.steps):
            assert isinstance(step, Step)
            y = step.inverse(y)
        return unsqueezed(y)

    def initialise(self, x: Tensor) -> Tensor:
        """Begin every actnorm where ``x`` is when it comes there; returns what stays."""
        x = squeezed(x)
        for step in self.steps:
            if isinstance(step, ActNorm):
                step.fit(x)
            x = step(x)[0]
        stayed: Tensor = x[:, : self.staying]
        return stayed


class Glow(Flow):
    """Multi-scale flow of actnorm, invertible 1×1 convolutions and affine couplings (Kingma & Dhariwal 2018).

    z has what leaves at the finest resolution first, and what is left at the coarsest last.
    """

    name = "glow"
    revision = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({"images"})
    Config = GlowConfig

    def __init__(self, shape: tuple[int, ...], config: FlowSettings) -> None:
        super().__init__(shape, config)
        assert isinstance(config, GlowConfig)
        possible = halvings(shape)
        count = standard_levels(shape) if config.levels is None else config.levels
        if not 1 <= count <= possible:
            raise ValueError(f"glow halves both sides {max(count, 1)} times, and those of images of shape {shape} halve {possible} times")
        levels: list[Level] = []
        channels = shape[0]
        for index in range(count):
            levels.append(Level(channels, config, last=index == count - 1))
            channels = levels[-1].staying
        self.levels = nn.ModuleList(levels)

    @property
    def resolutions(self) -> list[Level]:
        """The levels, the finest first."""
        return cast(list[Level], list(self.levels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts, total = [], x.new_zeros(len(x))
        for level in self.resolutions:
            x, left, log_det = level(x)
            parts.append(left.flatten(1))
            total = total + log_det
        return torch.cat(parts, dim=1), total

    def inverse(self, z: Tensor) -> Tensor:
        height, width = self.shape[1:]
        parts = []
        for level in self.resolutions:
            height, width = height // 2, width // 2
            leaving = level.channels - level.staying
            parts.append(z[:, : leaving * height * width].view(-1, leaving, height, width))
            z = z[:, leaving * height * width :]
        x = parts[-1][:, :0]
        for level, left in zip(reversed(self.resolutions), reversed(parts), strict=True):
            x = level.inverse(x, left)
        return x

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        for level in self.resolutions:
            x = level.initialise(x)
