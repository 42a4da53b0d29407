"""The sample stage: long chains that are the same for every method, and the other sources beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
SAMPLING_REVISION = 2
#: The sources that end with a denoising jump, and those that are the same chains before it.
BEFORE_JUMP = {"fresh": "noisy", "own": "noisy_own"}


def record_of(samples: Samples, **more: Any) -> dict[str, Any]:
    """How samples were made, as JSON takes it."""
    fields = ("sampler", "acceptance", "sampler_steps", "gradient_evaluations", "temperature")
    return {key: getattr(samples, key) for key in fields} | samples.notes | more


def in_words(made: Mapping[str, Any]) -> str:
    """How a source came about, for tables and figures: ``long chains, 500 steps of mala each``."""
    words = str(made["sampler"])
    kernel = made.get("kernel") or made.get("settings", {}).get("kernel")
    if made["sampler_steps"]:
        words += f", {made['sampler_steps']:,} steps" + (f" of {kernel['name']} each" if kernel else " each")
    return f"{words}, and a denoising jump" if made["denoised"] else words


def draw(method: Method, seed: int, device: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Samples by source, float32 (n, *event), and how each was made.

    Sources are ``fresh``, the long chains that are the same for every method; ``own``, the samples of the method's own sampler, if it has
    one; ``generated``, those of the generator whose samples the own sampler revises, if it does; ``noisy`` and ``noisy_own``, the first two
    before the denoising jump, if there was one; and ``persistent``, the chains of training, if there are any, with the same jump. No source
    depends on which others there are.
    """
    n, settings = method.sampling.n, method.sampling.model_dump(mode="json")
    fresh = method.sample(n, torch_generator(seed, "sampling", device=device))
    own = method.own_samples(n, torch_generator(seed, "sampling", "own", device=device))
    generated = method.generated_samples(n, torch_generator(seed, "sampling", "generated", device=device))
    sources, made = {}, {}
    for name, drawn, more in (("fresh", fresh, {"settings": settings}), ("own", own, {})):
        if drawn is None:
            continue
        sources[name], made[name] = drawn.x, record_of(drawn, denoised=method.denoises, **more)
        if drawn.before is not None:
            sources[BEFORE_JUMP[name]], made[BEFORE_JUMP[name]] = drawn.before, record_of(drawn, denoised=False, **more)
    if generated is not None:
        sources["generated"], made["generated"] = generated.x, record_of(generated, denoised=False)
    chains = method.chains()
    if chains is not None:
        kept = chains.x[:n]
        sources["persistent"] = method.denoised(kept)
        cost = len(kept) * int(method.denoises)
        made["persistent"] = record_of(chains, denoised=method.denoises) | {"gradient_evaluations": cost}
    return {name: x.float().cpu().numpy() for name, x in sources.items()}, made


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
        if reason is None:
            method = load_run(folder, Prepared(data_folder), device)
            method.sampling = config
            sources, made = draw(method, folder.config.seed, device)
            entry = {
                "sampler_steps": made["fresh"]["sampler_steps"],
                "gradient_evaluations": sum(m["gradient_evaluations"] for k, m in made.items() if k not in BEFORE_JUMP.values()),
                "sources": {name: in_words(how) for name, how in made.items()},
            }
            metadata = {"made": json.dumps(made, sort_keys=True)}
            reason = divergence_of(method, sources, config.energy_bound, device)
        if reason is not None:
            sources, metadata = {}, {"reason": reason}
        status = "finished" if reason is None else "diverged"
        write_arrays(folder / "samples.safetensors", sources, metadata | {"status": status})
        folder.record("sample", stopwatch.record() | entry, status, reason)
        remove_checkpoints(folder / "checkpoints")
