"""Matrix products by the library whose kernels suit the processor: layers, and products of gradients that are written by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

#: Multiplications from which on oneDNN's overhead of some ten microseconds is made up for.
LARGE = 1 << 21


@cache
def onednn_is_faster() -> bool:
    """Whether this is a processor on which MKL, which torch multiplies with, leaves half of the width of its vectors unused.

    MKL takes AVX-512 instructions on Intel's processors only; oneDNN, which torch has for other purposes, asks what there is. On one core
    with AVX-512 by AMD products of 300 × 300 weights took 0.78 ms in place of 1.81, at the same precision.
    """
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in vendor()


def vendor() -> str:
    """Who made the processor, as far as the system says."""
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace") if path.is_file() else ""


def by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether the product of ``x`` (n, k) and ``weight`` (m, k) is one that oneDNN is asked for: large, in single precision, on the CPU."""
    large = x.shape[0] * weight.shape[0] * weight.shape[1] >= LARGE
    return large and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and onednn_is_faster()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b by oneDNN, (n, m), a constant to autograd."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class Affine(torch.autograd.Function):
    """x Wᵀ + b by oneDNN, as often differentiable as by torch: its derivatives are such products themselves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (slope,) = ctx.saved_tensors, slopes
        wanted = ctx.needs_input_grad
        return (
            linear(slope, weight.t()) if wanted[0] else None,
            linear(slope.t(), x.t()) if wanted[1] else None,
            slope.sum(0) if wanted[2] else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, (n, m), of ``x`` (n, k): `torch.nn.functional.linear`, faster where that is to be had."""
    # Transforms of functions have rules of their own for torch's products, and none for these.
    transformed = torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    if transformed or x.dim() != 2 or not by_onednn(x, weight):
        return functional.linear(x, weight, bias)
    result: Tensor = Affine.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """x Wᵀ + b, (n, m), without a graph: written to ``out``, or a new tensor where that is faster.

    Args:
        x: (n, k).
        weight: W, (m, k).
        bias: b, (m,); None for none.
        out: (n, m), contiguous.
    """
    if by_onednn(x, weight):
        return product(x, weight, bias)
    return torch.mm(x, weight.t(), out=out) if bias is None else torch.addmm(bias, x, weight.t(), out=out)
