"""Records of long runs, made up in no time: independent draws, or whatever a test says of the chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ebmpipe.config import LongRunConfig
from ebmpipe.mixing.diagnostics import diagnose
from ebmpipe.mixing.record import LATENT, KernelRun, LongRun

STEPS = (0, 1, 10, 100)


def kernel_run(
    draws: np.ndarray,
    energy: np.ndarray,
    labels: np.ndarray | None = None,
    modes: int = 0,
    name: str = "mala",
    per_step: int = 1,
    **about: Any,
) -> KernelRun:
    """The record of a kernel with these draws (chains, draws, *event), their energies and labels (chains, draws)."""
    chains, count = draws.shape[:2]
    found = diagnose(draws.reshape(chains, count, -1), energy, labels, modes)
    arrays = {
        "rhat": found.rhat,
        "ess": found.ess,
        "ess_tail": found.ess_tail,
        "autocorrelation": found.autocorrelation,
        "energy_ess": np.array([found.energy_ess]),
        "energy": energy.T.astype(np.float32),
        "energy_steps": np.arange(count, 2 * count),
    }
    known = {
        "name": name, "settings": {"step_size": 0.3}, "latent": False, "adjusted": True,
        "starts": "base", "step_size": 0.2, "acceptance": 0.6, "chains": chains,
        "steps": 2 * count, "gradients_per_step": per_step, "gradient_evaluations": 2 * chains * count * per_step, "warm_up": count,
        "stride": 1, "draws": count, "slowest": found.slowest, "lost": None,
    }  # fmt: skip
    return KernelRun(known | about, arrays | ({} if labels is None else {"labels": labels}))


def lost_run(chains: int, name: str = "mala", reason: str = "3 of 8 have an energy that is not finite") -> KernelRun:
    """The record of a kernel whose chains broke off."""
    known = {
        "name": name, "settings": {"step_size": 0.3}, "latent": False, "adjusted": True,
        "starts": "base", "step_size": 0.2, "acceptance": 0.6, "chains": chains, "steps": 7,
        "gradients_per_step": 1, "gradient_evaluations": 8 * chains, "warm_up": 50, "stride": 1, "draws": 50, "slowest": -1, "lost": reason,
    }  # fmt: skip
    return KernelRun(known, {"energy": np.zeros((1, chains), np.float32), "energy_steps": np.array([0])})


def record_of(
    sample: Callable[[int], np.ndarray],
    energy_of: Callable[[np.ndarray], np.ndarray],
    tell: Callable[[np.ndarray], np.ndarray] | None = None,
    modes: int = 0,
    chains: int = 16,
    draws: int = 40,
    frames: Sequence[np.ndarray] | None = None,
    kernels: Sequence[str] = ("mala", "hmc"),
) -> LongRun:
    """Long runs whose draws are independent ones of ``sample``, with frames that are as well, or as given."""

    def made(name: str) -> KernelRun:
        flat = sample(chains * draws)
        labels = None if tell is None else tell(flat).reshape(chains, draws)
        energies, per_step, latent = energy_of(flat).reshape(chains, draws), 3 if "hmc" in name else 1, name.startswith(LATENT)
        found = kernel_run(flat.reshape(chains, draws, *flat.shape[1:]), energies, labels, modes, name, per_step, latent=latent)
        own = {"frames": np.stack([sample(chains) for _ in STEPS]).astype(np.float32), "frame_steps": np.array(STEPS)} if latent else {}
        return KernelRun(found.about, {**found.arrays, **own})

    shown = [sample(chains) for _ in STEPS] if frames is None else frames
    return LongRun(
        {name: made(name) for name in kernels},
        np.array(STEPS[: len(shown)]),
        np.stack(shown).astype(np.float32),
        np.stack([energy_of(frame) for frame in shown]).astype(np.float32),
        modes,
        "the nearest mode" if modes else "",
        LongRunConfig(chains=chains, steps=2 * draws).model_dump(mode="json"),
    )
