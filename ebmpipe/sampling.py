"""The sample stage: fresh long chains, and the persistent chains of training beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebmpipe.config import SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import write_arrays
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method, Samples
from ebmpipe.provenance import Stopwatch, choose_device
from ebmpipe.runs import RunFolder
from ebmpipe.seeding import torch_generator


def record_of(samples: Samples, **more: Any) -> dict[str, Any]:
    """How samples were made, as JSON takes it."""
    fields = ("acceptance", "sampler_steps", "gradient_evaluations", "temperature")
    return {key: getattr(samples, key) for key in fields} | samples.notes | more


def draw(method: Method, seed: int, device: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Samples by source, float32 (n, *event), and how each was made.

    Sources are ``fresh``, the primary one; ``noisy``, the same chains before the denoising jump, if there was one; and
    ``persistent``, the chains of training, if there are any, with the same jump.
    """
    drawn = method.sample(method.sampling.n, torch_generator(seed, "sampling", device=device))
    settings = method.sampling.model_dump(mode="json")
    sources, made = {"fresh": drawn.x}, {"fresh": record_of(drawn, denoised=method.denoises, settings=settings)}
    if drawn.before is not None:
        sources["noisy"], made["noisy"] = drawn.before, record_of(drawn, denoised=False, settings=settings)
    chains = method.chains()
    if chains is not None:
        kept = chains.x[: method.sampling.n]
        sources["persistent"] = method.denoised(kept)
        cost = len(kept) * int(method.denoises)
        made["persistent"] = record_of(chains, denoised=method.denoises) | {"gradient_evaluations": cost}
    return {name: x.float().cpu().numpy() for name, x in sources.items()}, made


@torch.no_grad()
def sample(folder: RunFolder, data_folder: Path, config: SamplingConfig, device: str = "auto") -> None:
    """Write samples.safetensors of a trained run; of a diverged run it holds no array and says so.

    Args:
        folder: the run.
        data_folder: its prepared data set.
        config: how fresh samples are drawn.
        device: as in training.
    """
    device = choose_device(device)
    stopwatch = Stopwatch(device)
    ledger = folder.ledger
    entry: dict[str, Any] = {"sampler_steps": 0, "gradient_evaluations": 0}
    if ledger["status"] == "diverged":
        write_arrays(folder / "samples.safetensors", {}, {"status": "diverged", "reason": str(ledger["reason"]), "primary": "fresh"})
    else:
        method = load_run(folder, Prepared(data_folder), device)
        method.sampling = config
        sources, made = draw(method, folder.config.seed, device)
        fresh = made["fresh"]
        entry |= {
            "sampler_steps": fresh["sampler_steps"],
            "gradient_evaluations": sum(m["gradient_evaluations"] for k, m in made.items() if k != "noisy"),
        }
        metadata = {"status": "finished", "primary": "fresh", "made": json.dumps(made, sort_keys=True)}
        write_arrays(folder / "samples.safetensors", sources, metadata)
    folder.record("sample", stopwatch.record() | entry, ["samples.safetensors"])
