"""The base stage: a flow fitted to a data set, where annealing begins for every model of it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebmpipe.data.prepared import Prepared, to_model_space
from ebmpipe.energies import GaussianLaw
from ebmpipe.features.base import read_network, write_network
from ebmpipe.files import CorruptFile
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.flows.standard import standard_flow
from ebmpipe.progress import Progress
from ebmpipe.seeding import derive, torch_generator
from ebmpipe.tensors import shared

#: Bumped when the same data and seed would give another flow.
REVISION = 2
NAME = "flow"
#: How it is fitted. Recorded in flow.json.
SETTINGS: dict[str, Any] = {"batch": 256, "steps": 1500, "learning_rate": 1e-3, "gradient_clip": 10.0}


def examples(data: Prepared, split: str, chosen: Tensor | None, noise: float, generator: torch.Generator) -> Tensor:
    """Examples of a split in model space, dequantised afresh, with Gaussian noise: what the flow is fitted to. (n, *event) float32."""
    values = shared(data.split(split))
    values = values if chosen is None else values[chosen]
    if data.spec.levels is not None:
        values = to_model_space(values, data.spec.levels, torch.rand(values.shape, generator=generator))
    return values.float().add(torch.randn(values.shape, generator=generator), alpha=noise)


def nll(law: torch.nn.Module, data: Prepared, split: str, noise: float) -> float:
    """Mean negative log-likelihood of a split with noise, in nats."""
    x = examples(data, split, None, noise, torch_generator(0, "base", split))
    return float(torch.cat([law(part).double() for part in x.split(1024)]).mean())


def fit_base(prepared_folder: Path, out: Path, seed: int, noise: float = 0.0) -> dict[str, Any]:
    """Fit a flow to a prepared data set by maximum likelihood, every batch dequantised and blurred afresh.

    Args:
        prepared_folder: what `ebmpipe prepare` wrote.
        out: where to write ``flow.safetensors`` and ``flow.json``.
        seed: root of its random streams.
        noise: standard deviation of Gaussian noise on the data, in model space; that which the models to be measured allow for.

    Returns:
        The card: held-out negative log-likelihood in nats, beside that of the Gaussian base, checksum of the weights, settings, seconds.
    """
    start = time.perf_counter()
    data = Prepared(prepared_folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "base", "init"))
        law = FlowLaw(build_flow(standard_flow(data.spec.dimension), data.spec), data.spec)
    parameters, steps = list(law.parameters()), SETTINGS["steps"]
    optimiser = torch.optim.Adam(parameters, lr=SETTINGS["learning_rate"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    generator, count = torch_generator(seed, "base", "batches"), len(data.split("train"))
    with Progress(f"{data.spec.name}: flow", steps) as progress:
        for _ in range(steps):
            chosen = torch.randint(count, (SETTINGS["batch"],), generator=generator)
            loss = law(examples(data, "train", chosen, noise, generator)).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, SETTINGS["gradient_clip"], error_if_nonfinite=True)
            optimiser.step()
            schedule.step()
            progress.advance({"nll": loss.item()})
    law.requires_grad_(False)
    about = {
        "revision": REVISION,
        "dataset": data.spec.name,
        "data_sha256": data.card["data_sha256"],
        "noise": noise,
        "nll": {"validation": nll(law, data, "validation", noise)},
        "nll_gaussian": {"validation": nll(GaussianLaw.of(data.spec, 1.0), data, "validation", noise)},
        "settings": {**SETTINGS, "seed": seed},
        "seconds": round(time.perf_counter() - start, 3),
    }
    weights = {key: value.numpy() for key, value in law.state_dict().items()}
    return write_network(out, NAME, weights, about)


class NoFlow(ValueError):
    """Raised where a flow is asked for that was never fitted; the message says how it is."""


def load_base(folder: Path | None, data: Prepared, noise: float) -> FlowLaw:
    """The flow of a data set as a law.

    Args:
        folder: what `fit_base` wrote; None where nothing was.
        data: the data set.
        noise: that the flow is to be fitted with.

    Raises:
        NoFlow: if there is none.
        CorruptFile: if it is damaged, or was fitted to other data or with other noise.
    """
    command = f"ebmpipe base --dataset {data.spec.name} --noise {noise:g}"
    if folder is None or not (folder / f"{NAME}.json").is_file():
        raise NoFlow(f"there is no flow to anneal from: make it with `{command}`, or set evaluation.partition.base to own")
    weights, about = read_network(folder, NAME)
    if about["data_sha256"] != data.card["data_sha256"]:
        raise CorruptFile(f"{folder} was fitted to other data than {data.folder} holds now: run `{command}` again")
    if about["noise"] != noise:
        raise CorruptFile(f"{folder} was fitted with noise {about['noise']:g}, not {noise:g}: run `{command}` again")
    law = FlowLaw(build_flow(standard_flow(data.spec.dimension), data.spec), data.spec)
    law.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return law.requires_grad_(False)
