"""The record of a long run: what long_run.safetensors holds, for metrics and figures. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe.files import read_arrays, write_arrays

#: The file in a run's folder.
FILE = "long_run.safetensors"
#: How names of kernels begin that move latent vectors.
LATENT = "latent_"


@dataclass(frozen=True)
class KernelRun:
    """The chains of one kernel on one energy.

    Attributes:
        about: how they came about: ``name``, ``settings``, whether they are ``latent`` vectors, whether the kernel is
            ``adjusted``, without which their law is a biased one, what the ``starts`` are spread about, ``step_size`` as adapted,
            ``acceptance``, ``chains``, ``steps`` of each, ``gradients_per_step``, ``gradient_evaluations`` in all, ``warm_up`` in steps,
            ``stride`` in steps between draws, ``draws`` of each chain, ``slowest`` coordinate, and ``lost``, why there is no more, which is
            None if all went well.
        arrays: of the draws, ``rhat``, ``ess``, ``ess_tail`` (quantities,), ``autocorrelation`` (2, lags) and ``energy_ess`` (1,) as in
            `ebmpipe.mixing.diagnostics.Diagnosis`, and where modes or classes are told apart ``labels`` (chains, draws); of the whole,
            ``energy`` (times, chains), E in nats at the steps ``energy_steps`` (times,). Of chains that were lost, the last two alone. Of
            latent vectors x is where they lead and E their own energy, and there are ``frames`` and ``frame_steps`` as in `LongRun`.
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def lost(self) -> str | None:
        """Why the chains broke off."""
        return None if self.about["lost"] is None else str(self.about["lost"])

    @property
    def window(self) -> int:
        """Gradient evaluations of each chain that its draws stretch over."""
        return int(self.about["draws"] * self.about["stride"] * self.about["gradients_per_step"])


@dataclass(frozen=True)
class LongRun:
    """Long runs of an energy.

    Attributes:
        kernels: by name, the primary one first; none where there is no energy.
        frame_steps: steps of the primary kernel at which its chains were kept, (frames,).
        frames: the chains there, after the denoising jump if there was one, (frames, chains, *event) float32.
        frame_energies: E in nats of them before the jump, (frames, chains).
        modes: number of modes or classes that are told apart; 0 for none.
        told_by: what tells them apart, in words.
        settings: as configured.
        reason: why there are no chains at all; None if there are.
    """

    kernels: Mapping[str, KernelRun]
    frame_steps: np.ndarray
    frames: np.ndarray
    frame_energies: np.ndarray
    modes: int = 0
    told_by: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def nothing(cls, reason: str, settings: Mapping[str, Any]) -> LongRun:
        """The record of a run that could not be run."""
        return cls({}, np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), settings=settings, reason=reason)

    @property
    def primary(self) -> KernelRun:
        """The first kernel's chains."""
        return next(iter(self.kernels.values()))

    @property
    def framed(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of every kernel whose chains were kept at frames, the steps and the chains there, as ``frame_steps`` and ``frames``."""
        others = list(self.kernels.items())[1:]
        found = {self.primary.about["name"]: (self.frame_steps, self.frames)} if self.kernels else {}
        return found | {name: (one.arrays["frame_steps"], one.arrays["frames"]) for name, one in others if "frames" in one.arrays}

    def write(self, path: Path) -> None:
        """Write it as safetensors; equal records are equal bytes."""
        arrays = {"frame_steps": self.frame_steps, "frames": self.frames, "frame_energies": self.frame_energies}
        arrays |= {f"{name}/{key}": value for name, kernel in self.kernels.items() for key, value in kernel.arrays.items()}
        about = {
            "kernels": [kernel.about for kernel in self.kernels.values()],
            "modes": self.modes,
            "told_by": self.told_by,
            "settings": dict(self.settings),
            "reason": self.reason,
        }
        write_arrays(path, arrays, {"about": json.dumps(about, sort_keys=True)})

    @classmethod
    def read(cls, path: Path) -> LongRun:
        """Read what `write` wrote."""
        arrays, metadata = read_arrays(path)
        about = json.loads(metadata["about"])
        kernels = {}
        for known in about.pop("kernels"):
            start = f"{known['name']}/"
            own = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
            kernels[known["name"]] = KernelRun(known, own)
        return cls(kernels, arrays["frame_steps"], arrays["frames"], arrays["frame_energies"], **about)
