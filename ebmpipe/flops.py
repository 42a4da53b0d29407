"""Counting the floating-point operations of a piece of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def of_linear(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    """Operations of x Wᵀ, of ``x`` (n, k) and ``weight`` (m, k)."""
    return 2 * int(x.shape[0] * weight.shape[0] * weight.shape[1])


#: Operations of a call by its function: those that torch has, and the product of `ebmpipe.products`.
FORMULAS: dict[Any, Callable[..., int]] = dict(flop_registry)
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    FORMULAS[torch.ops.mkldnn._linear_pointwise] = of_linear


class FlopCounter(TorchDispatchMode):
    """Adds up the operations of matrix products and convolutions while it is entered, backward passes included.

    Formulas are those of `torch.utils.flop_counter` (a multiply-add is two operations; elementwise work is not counted). Its own
    `FlopCounterMode` cannot be used here: the hooks by which it follows modules refuse `torch.autograd.grad` in leaves.

    Attributes:
        total: operations so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        out = func(*args, **keywords)
        formula = FORMULAS.get(func._overloadpacket)  # type: ignore[attr-defined]
        if formula is not None:
            keywords.pop("out", None)
            self.total += formula(*args, **keywords, out_val=out)
        return out
