"""Kernel Stein discrepancy."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebmpipe.config import MethodConfig
from ebmpipe.derivatives import slope
from ebmpipe.energies import Watched
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference


def radial(profile: Literal["imq", "gaussian"], squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """φ(r), φ'(r) and φ''(r) of the radial kernel k(x, y) = φ(‖x - y‖²), at ``squares`` in units of the kernel's squared scale.

    The inverse multiquadric (1 + r)^-½, whose tails see what is far away, or the Gaussian exp(-r/2).
    """
    if profile == "imq":
        v = 1 / (1 + squares)
        root = v.sqrt()
        return root, -root * v / 2, 0.75 * root * v * v
    value = (-squares / 2).exp()
    return value, -value / 2, value / 4


def squared_kernel_stein_discrepancy(x: Tensor, score: Tensor, scale: float, profile: Literal["imq", "gaussian"] = "imq") -> Tensor:
    """The unbiased estimate of KSD² from all pairs of different examples, a scalar; it may be negative.

    The mean of s·s' k + s·∇'k + s'·∇k + tr ∇∇'k over two examples of the data, with s and s' the model's scores there (Liu, Lee & Jordan
    2016; Chwialkowski, Strathmann & Gretton 2016). By Stein's identity it is that of (s - s_data)·(s' - s'_data) k: the squared norm
    of the difference of the scores, as the kernel sees it, zero if they agree.

    Args:
        x: examples (n, *event).
        score: s at each, shape of ``x``, differentiable in the weights.
        scale: c, in units of x.
        profile: φ of the kernel φ(‖x - y‖²/c²), as in `radial`.
    """
    n, dimension = len(x), x[0].numel()
    # Differences of squares are accurate about the mean, and a shift changes none.
    at, s = (x - x.mean(0)).flatten(1) / scale, score.flatten(1) * scale
    lengths = at.square().sum(1)
    squares = (lengths[:, None] + lengths - 2 * at @ at.T).clamp(min=0)
    kernel = radial(profile, squares)
    value, first, second = (part.fill_diagonal_(0) for part in kernel)
    # What no weight moves; then Σ s_i·s_j φ, and Σ s_i·(x_j - x_i) φ' from either side: of all pairs, only products of matrices see s.
    constant = -2 * dimension * first.sum() - 4 * second.flatten() @ squares.flatten()
    towards = first @ at - first.sum(1, keepdim=True) * at
    total = (s * (value @ s + 4 * towards)).sum() + constant
    return total / (n * (n - 1)) / scale**2


class KernelSteinConfig(MethodConfig):
    """Settings of `KernelStein`."""

    batch_size: int = Field(256, ge=2, description="examples per update, all pairs of which are compared")
    profile: Literal["imq", "gaussian"] = Field("imq", description="form of the kernel: inverse multiquadric, or Gaussian")
    scale: float = Field(0.15, gt=0, description="scale of the kernel, in units of the data's standard deviation")


class KernelStein(EnergyMethod):
    """Matches scores as seen by a kernel: from examples and ∇E alone, without its Laplacian, chains or log Z.

    Consistent, but a kernel sees the less of a difference the faster it varies, and all of them poorly in many dimensions, where points
    are about equally far from each other. As with every loss made from scores, the weights of modes far apart are hardly seen.
    """

    name = "kernel_stein"
    revision = 1
    title = "Kernel Stein discrepancy"
    references = (
        Reference("Q. Liu, J. D. Lee, M. I. Jordan", "A kernelized Stein discrepancy for goodness-of-fit tests", 2016, "1602.03253"),
        Reference("K. Chwialkowski, H. Strathmann, A. Gretton", "A kernel test of goodness of fit", 2016, "1602.02964"),
        Reference("J. Gorham, L. Mackey", "Measuring sample quality with kernels", 2017, "1703.01717"),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = KernelSteinConfig
    config: KernelSteinConfig
    supports = frozenset({"space"})  # on a box the boundary terms do not vanish
    settings_by_kind: ClassVar[ByKind] = {
        "density": {"batch_size": 512},
        "vectors": {"scale": 0.3},
        "images": {"data_noise": 0.3, "scale": 0.5},
    }

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Per example ∇ₓE, and the gradient of the loss in the weights."""
        return 2 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        energy = Watched(self.live)
        score = -slope(energy, batch)
        loss = squared_kernel_stein_discrepancy(batch, score, self.config.scale * self.spec.std, self.config.profile)
        return self.update(loss, energy.seen, energy.x)
