"""The invertible steps that Glow is made of: each maps images to images, and says the logarithm of its Jacobian's determinant."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional


class Step(nn.Module, ABC):
    """An invertible map of images (n, channels, height, width) to images of the same shape."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y, and log |det ∂y/∂x| in nats: (n,), or a scalar where it is the same for all."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """The x of which `forward` makes ``y``."""


class ActNorm(Step):
    """y = (x + b) exp(s) with b and s of each channel, which `fit` begins with mean 0 and variance 1 (Kingma & Dhariwal 2018, §3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift, self.log_scale = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Set both so that ``x``, (n, channels, height, width), comes out with mean 0 and variance 1 in every channel that varies."""
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        self.shift.copy_(-mean)
        self.log_scale.copy_(torch.where(variance > 0, -variance.clamp(min=1e-12).log() / 2, 0.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = (x + self.shift.view(-1, 1, 1)) * self.log_scale.exp().view(-1, 1, 1)
        return y, self.log_scale.sum() * (x.shape[2] * x.shape[3])

    def inverse(self, y: Tensor) -> Tensor:
        return y * (-self.log_scale).exp().view(-1, 1, 1) - self.shift.view(-1, 1, 1)


class InvertibleConvolution(Step):
    """A 1×1 convolution with W = P L (U + diag(±exp(s))), so that log |det W| is the sum of s (Kingma & Dhariwal 2018, §3.2).

    W begins as a random rotation; P and the signs stay as they then are.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diagonal().sign())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_scale = nn.Parameter(upper.diagonal().abs().log())

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(±exp(s)), (channels, channels) each: triangular, as determinant and inverse are read off them."""
        unit = torch.eye(len(self.sign), dtype=self.sign.dtype, device=self.sign.device)
        return self.lower.tril(-1) + unit, self.upper.triu(1) + (self.sign * self.log_scale.exp()).diag()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.factors()
        weight = self.permutation @ lower @ upper
        return functional.conv2d(x, weight[:, :, None, None]), self.log_scale.sum() * (x.shape[2] * x.shape[3])

    def inverse(self, y: Tensor) -> Tensor:
        lower, upper = self.factors()
        half = torch.linalg.solve_triangular(lower, self.permutation.T, upper=False, unitriangular=True)
        return functional.conv2d(y, torch.linalg.solve_triangular(upper, half, upper=True)[:, :, None, None])


class AffineCoupling(Step):
    """The first half of the channels stays as it is, a; the second becomes b exp(s(a)) + t(a) (Dinh, Sohl-Dickstein & Bengio 2017).

    s is bent to within ±``bound``, so that no step stretches or shrinks beyond exp(bound) and its inverse is as well conditioned as
    itself. Networks are three convolutions, 3×3, 1×1 and 3×3, with SiLU between: smooth, as gradients through the inverse move chains.
    At first s and t are zero.

    Args:
        channels: of the image; the second half has one more where they are odd.
        width: channels of the hidden layers.
        bound: of |s|, > 0.
    """

    def __init__(self, channels: int, width: int, bound: float) -> None:
        super().__init__()
        self.kept, self.bound = channels // 2, bound
        last = nn.Conv2d(width, 2 * (channels - self.kept), 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.network = nn.Sequential(nn.Conv2d(self.kept, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), last)

    def log_scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """s and t of the half that stays."""
        raw, shift = self.network(kept).chunk(2, dim=1)
        return self.bound * torch.tanh(raw / self.bound), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self.log_scale_and_shift(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], dim=1), log_scale.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        kept, moved = y[:, : self.kept], y[:, self.kept :]
        log_scale, shift = self.log_scale_and_shift(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], dim=1)


def squeezed(x: Tensor) -> Tensor:
    """Every square of two by two pixels as one of four times the channels: (n, c, h, w) -> (n, 4c, h/2, w/2)."""
    return functional.pixel_unshuffle(x, 2)


def unsqueezed(y: Tensor) -> Tensor:
    """The inverse of `squeezed`."""
    return functional.pixel_shuffle(y, 2)
