"""Matrix products of networks that are not differentiated: by the library whose kernels suit the processor."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

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


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """x Wᵀ + b, (n, m), without a graph: written to ``out``, or a new tensor where that is faster.

    Args:
        x: (n, k).
        weight: W, (m, k).
        bias: b, (m,); None for none.
        out: (n, m), contiguous.
    """
    if by_onednn(x, weight):
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return result
    return torch.mm(x, weight.t(), out=out) if bias is None else torch.addmm(bias, x, weight.t(), out=out)
