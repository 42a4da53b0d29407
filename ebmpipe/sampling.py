"""The sample stage: a method's own samples or fresh long chains, and the other sources beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebmpipe.checkpoint import remove_checkpoints
from ebmpipe.config import SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import on_arrays
from ebmpipe.files import write_arrays
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method, NoEnergy, Samples
from ebmpipe.provenance import Stopwatch, choose_device
from ebmpipe.runs import RunFolder
from ebmpipe.seeding import torch_generator

#: Bumped when the numerics of this stage change.
SAMPLING_REVISION = 1


def record_of(samples: Samples, **more: Any) -> dict[str, Any]:
    """How samples were made, as JSON takes it."""
    fields = ("acceptance", "sampler_steps", "gradient_evaluations", "temperature")
    return {key: getattr(samples, key) for key in fields} | samples.notes | more


def primary_samples(method: Method, n: int, generator: torch.Generator) -> tuple[str, Samples]:
    """``n`` of the samples that bare metric ids are about, and their source: the method's own sampler's, else ``fresh`` long chains'."""
    return method.own_samples(n, generator) or ("fresh", method.sample(n, generator))


def draw(method: Method, seed: int, device: str) -> tuple[str, dict[str, np.ndarray], dict[str, Any]]:
    """The primary source, samples by source, float32 (n, *event), and how each was made.

    Sources are the primary one, see `primary_samples`; ``long_run``, the long chains that are primary elsewhere, where the method has a
    sampler of its own; ``noisy``, the primary samples before the denoising jump, if there was one; and ``persistent``, the chains
    of training, if there are any, with the same jump.
    """
    n, settings = method.sampling.n, method.sampling.model_dump(mode="json")
    primary, drawn = primary_samples(method, n, torch_generator(seed, "sampling", device=device))
    own: dict[str, Any] = {"settings": settings} if primary == "fresh" else {}
    sources, made = {primary: drawn.x}, {primary: record_of(drawn, denoised=method.denoises, **own)}
    if drawn.before is not None:
        sources["noisy"], made["noisy"] = drawn.before, record_of(drawn, denoised=False, **own)
    if primary != "fresh":
        # Drawn with the numbers of another method's fresh samples: only the energies differ.
        long = method.sample(n, torch_generator(seed, "sampling", device=device))
        sources["long_run"], made["long_run"] = long.x, record_of(long, denoised=method.denoises, settings=settings)
    chains = method.chains()
    if chains is not None:
        kept = chains.x[:n]
        sources["persistent"] = method.denoised(kept)
        cost = len(kept) * int(method.denoises)
        made["persistent"] = record_of(chains, denoised=method.denoises) | {"gradient_evaluations": cost}
    return primary, {name: x.float().cpu().numpy() for name, x in sources.items()}, made


def divergence_of(method: Method, sources: dict[str, np.ndarray], bound: float, device: str) -> str | None:
    """Why samples are none: a coordinate or an energy that is not finite, or an energy beyond ``bound`` nats. None if all is well."""
    for name, x in sources.items():
        lost = int((~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).sum())
        if lost:
            return f"sampling: {lost} of {len(x)} {name} samples are not finite"
        try:
            energies = on_arrays(method.energy, device)(x)
        except NoEnergy:
            continue
        if beyond := int((~(np.abs(energies) <= bound)).sum()):
            return f"sampling: {beyond} of {len(x)} {name} samples have an energy that is not finite or beyond the bound {bound:.4g}"
    return None


@torch.no_grad()
def sample(folder: RunFolder, data_folder: Path, config: SamplingConfig, device: str = "auto") -> None:
    """Write samples.safetensors of a trained run; of a run that diverged, in training or now, it holds no array and says so.

    Args:
        folder: the run.
        data_folder: its prepared data set.
        config: how long chains are drawn.
        device: as in training.
    """
    device = choose_device(device)
    with folder.locked():
        stopwatch = Stopwatch(device)
        reason = folder.training_divergence
        entry: dict[str, Any] = {"sampler_steps": 0, "gradient_evaluations": 0}
        sources: dict[str, np.ndarray] = {}
        metadata: dict[str, str] = {}
        primary = "fresh"
        if reason is None:
            method = load_run(folder, Prepared(data_folder), device)
            method.sampling = config
            primary, sources, made = draw(method, folder.config.seed, device)
            entry = {
                "sampler_steps": made[primary]["sampler_steps"],
                "gradient_evaluations": sum(m["gradient_evaluations"] for k, m in made.items() if k != "noisy"),
            }
            metadata = {"made": json.dumps(made, sort_keys=True)}
            reason = divergence_of(method, sources, config.energy_bound, device)
        if reason is not None:
            sources, metadata = {}, {"reason": reason}
        status = "finished" if reason is None else "diverged"
        write_arrays(folder / "samples.safetensors", sources, metadata | {"status": status, "primary": primary})
        folder.record("sample", stopwatch.record() | entry, status, reason)
        remove_checkpoints(folder / "checkpoints")
