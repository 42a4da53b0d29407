"""The sample stage: fresh long chains, and the persistent chains of training beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebmpipe.config import SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import write_arrays
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method
from ebmpipe.provenance import Stopwatch, choose_device
from ebmpipe.runs import RunFolder
from ebmpipe.seeding import torch_generator


def draw(method: Method, seed: int, device: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Samples by source, float32 (n, *event), and how they were made; fresh samples are the ``primary`` source."""
    generator = torch_generator(seed, "sampling", device=device)
    drawn = method.sample(method.sampling.n, generator)
    made = {key: value for key, value in asdict(drawn).items() if key != "x"}
    sources = {"fresh": drawn.x.float().cpu().numpy()}
    chains = method.chains()
    if chains is not None:
        sources["persistent"] = method.denoised(chains)[: method.sampling.n].float().cpu().numpy()
    return sources, made | {"denoised": method.denoises}


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
        entry |= {"sampler_steps": made["sampler_steps"], "gradient_evaluations": made["gradient_evaluations"]}
        metadata = {"status": "finished", "primary": "fresh", "settings": config.model_dump_json(), "made": json.dumps(made)}
        write_arrays(folder / "samples.safetensors", sources, metadata)
    folder.record("sample", stopwatch.record() | entry, ["samples.safetensors"])
