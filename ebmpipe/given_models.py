"""Energies that were trained elsewhere: the model of a run's folder, or the weights of an energy network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ebmpipe.checkpoint import load_model
from ebmpipe.config import NetworkConfig, RunConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import BasedEnergy, Energy
from ebmpipe.files import read_json, sha256
from ebmpipe.loading import load_run, make_run
from ebmpipe.nets.base import build_network
from ebmpipe.runs import RunFolder
from ebmpipe.scored import Scored

#: Whether the Gaussian base is part of the energy.
Base = Literal["gaussian", "none"]
#: What a run calls its weights.
MODEL = "model.safetensors"
#: Most names of weights that an error lists.
SHOWN = 4


@dataclass(frozen=True)
class GivenModel:
    """An energy to be scored.

    Attributes:
        name: what it is called where nothing else is said.
        scored: E and what is known of it, without samples.
        about: what it was made from, as JSON takes it.
    """

    name: str
    scored: Scored
    about: dict[str, Any]


def read_model(path: Path, data: Prepared, network: NetworkConfig | None, base: Base | None, device: str) -> GivenModel:
    """The energy in a file.

    Args:
        path: ``model.safetensors`` of a run, with its ``config.json`` beside it, or the run's folder; or a network's weights, .safetensors.
        data: the data set.
        network: what the weights are of; None for a run's model.
        base: of weights: ``gaussian``: E(x) = f((x - m)/s) - log q(x), as `BasedEnergy`; ``none``: E(x) = f(x), x in model space.
        device: where it is to live.

    Raises:
        ValueError: if there is no such energy, or it is not of this data set; the message says what to do.
    """
    path = path / MODEL if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are read from .safetensors only; other formats may run code")
    if network is not None:
        return _of_weights(path, data, network, base or "gaussian", device)
    if base is not None:
        raise ValueError("--base is for the weights of a network: name it with --network")
    if path.name != MODEL or not path.with_name("config.json").is_file():
        raise ValueError(
            f"{path} is no run's {MODEL} with its config.json beside it; say what network the weights are of, as in "
            """--network '{"name": "mlp", "settings": {"width": 64}}'"""
        )
    return _of_run(path, data, device)


def _of_run(path: Path, data: Prepared, device: str) -> GivenModel:
    """The energy of a run that was copied from elsewhere; its files are checked against its ledger if that came along."""
    folder = RunFolder(path.resolve().parent)
    signed = (folder / "run.json").is_file()
    config = folder.config if signed else RunConfig.model_validate(read_json(folder / "config.json"))
    if config.dataset != data.spec.name:
        raise ValueError(f"{path} was trained on {config.dataset}, not on {data.spec.name}")
    for label in config.requires.values():
        needed = RunFolder.of(folder.results, config.dataset, label, config.seed)
        if not (needed / "run.json").is_file():
            raise ValueError(f"{path} builds on the run {label!r}, which is not at {needed.path}: copy the whole folder of results")
    if signed and (lost := folder.training_divergence):
        raise ValueError(f"{path} is of a run that diverged: {lost}")
    if signed:
        method = load_run(folder, data, device)
    else:
        method = make_run(config, data, folder.results, device)
        _fill(method, path)
    scored = Scored.of(method, {}, "", config.seed, device)
    if scored.energy is None:
        raise ValueError(f"{path} has no energy to score: {config.method} is not a model of {data.spec.kind}")
    _check(scored.energy, path, data, device)
    about = {"run": f"{config.dataset}/{config.label}/seed{config.seed}", "method": config.method, "checked_against_ledger": signed}
    return GivenModel(f"{config.label}_seed{config.seed}", scored, _about(path) | about)


def _of_weights(path: Path, data: Prepared, config: NetworkConfig, base: Base, device: str) -> GivenModel:
    """The energy that a network's weights make, with or without the base."""
    network = build_network(config, data.spec)
    _fill(network, path)
    based = BasedEnergy(network, data.spec) if base == "gaussian" else None
    energy = (based or network).to(device).eval().requires_grad_(False)
    _check(energy, path, data, device)
    scored = Scored({}, "", energy, energy, None if based is None else based.base)
    return GivenModel(path.stem, scored, _about(path) | {"network": config.model_dump(mode="json"), "base": base})


def _about(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256(path)}


def _fill(module: nn.Module, path: Path) -> None:
    """Load weights, all of them and no others, each of its shape."""
    try:
        given: Mapping[str, Tensor] = load_model(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as .safetensors: {error}") from error
    own = module.state_dict()
    problems = {
        "it lacks": [name for name in own if name not in given],
        "it has besides": [name for name in given if name not in own],
        "of another shape are": [name for name in own if name in given and given[name].shape != own[name].shape],
    }
    if found := [f"{what} {', '.join(names[:SHOWN])}{' …' * (len(names) > SHOWN)}" for what, names in problems.items() if names]:
        raise ValueError(f"{path} does not hold the weights of this {type(module).__name__}: {'; '.join(found)}")
    module.load_state_dict(given)


def _check(energy: Energy, path: Path, data: Prepared, device: str) -> None:
    """Evaluate the energy once, at the data's mean: it must be one number per example."""
    x = torch.full((2, *data.spec.shape), data.spec.mean, device=device)
    with torch.no_grad():
        value = energy(x)
    if value.shape != (2,):
        raise ValueError(f"{path}: an energy maps (n, *event) to (n,); this one maps {tuple(x.shape)} to {tuple(value.shape)}")
