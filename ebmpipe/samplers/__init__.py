"""Markov kernels, one per file: ``from ebmpipe.samplers import ULA, run``."""

from __future__ import annotations

from typing import Any

from ebmpipe import registry
from ebmpipe.samplers.base import Info, Kernel, State, Summary, run

__all__ = ["Info", "Kernel", "State", "Summary", "run"]


def __getattr__(name: str) -> Any:
    """The kernel class called ``name``, found in whichever file defines it."""
    if not name.startswith("_"):
        for kernel in registry.load_all("samplers").values():
            if kernel.__name__ == name:
                return kernel
    raise AttributeError(f"module 'ebmpipe.samplers' has no attribute {name!r}")
