"""Checkpoints: one safetensors file that holds everything the next update depends on, and the one before in case it is damaged."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ebmpipe.files import CorruptFile, atomic, digest, header

SUFFIX = ".safetensors"


def checkpoint_key(config: dict[str, Any], inputs: dict[str, str], machine: dict[str, str]) -> str:
    """Names the training run that a checkpoint belongs to.

    Another setting, revision, input (by checksum), model of device, number of threads or version of torch gives another key: from none
    of them would the run surely go on to the same numbers.
    """
    return digest({"config": config, "inputs": inputs, "machine": machine})[:16]


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes of all tensors, and of the metadata."""
    found = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return found.hexdigest()


@dataclass
class Checkpoint:
    """The state of a training run between two updates.

    Attributes:
        step: number of updates done.
        model: the method's state dict.
        generator: state of the noise stream.
        history: rows logged so far.
        extra: further values that the run record needs, JSON.
    """

    step: int
    model: dict[str, Tensor]
    generator: Tensor
    history: list[dict[str, Any]]
    extra: dict[str, Any]

    @classmethod
    def of(
        cls, step: int, model: Mapping[str, Tensor], generator: Tensor, history: list[dict[str, Any]], extra: dict[str, Any]
    ) -> Checkpoint:
        """A copy of the state on the CPU, which further updates leave alone."""
        kept = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.items()}
        return cls(step, kept, generator.to("cpu", copy=True), list(history), dict(extra))

    def save(self, path: Path) -> None:
        """Write atomically, keeping the checkpoint before: a crash at any moment leaves one of them whole."""
        tensors = {f"model.{name}": value for name, value in self.model.items()} | {"generator": self.generator}
        metadata = {"step": str(self.step), "history": json.dumps(self.history), "extra": json.dumps(self.extra)}
        content = save(tensors, header(metadata | {"sha256": checksum(tensors, metadata)}))
        with atomic(path) as temporary:
            temporary.write_bytes(content)
            if path.exists():
                path.replace(before(path))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint onto the CPU.

        Raises:
            CorruptFile: naming the file, if it is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = json.loads(file.metadata()["json"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            expected = metadata.pop("sha256")
            if checksum(tensors, metadata) != expected:
                raise ValueError("its content does not have the checksum that it states")
            return cls(
                step=int(metadata["step"]),
                model={name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")},
                generator=tensors["generator"],
                history=json.loads(metadata["history"]),
                extra=json.loads(metadata["extra"]),
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"checkpoint {path} is damaged ({error})") from error


def before(path: Path) -> Path:
    """Where the checkpoint before that at ``path`` is kept."""
    return path.with_suffix(f".before{SUFFIX}")


def latest(path: Path) -> Checkpoint | None:
    """The newest sound checkpoint of ``path`` and the one before it; None if there is none, which means a fresh start.

    A damaged one is named on standard error and set aside: what was trained since is trained again, to the same bytes.
    """
    for candidate in (path, before(path)):
        if not candidate.exists():
            continue
        try:
            return Checkpoint.load(candidate)
        except CorruptFile as error:
            aside = candidate.with_suffix(".damaged")
            candidate.replace(aside)
            print(f"{error}; set aside as {aside.name}, going back to the one before or to the start", file=sys.stderr)
    return None


def save_model(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a method's state dict as safetensors."""
    with atomic(path) as temporary:
        temporary.write_bytes(save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, header(metadata)))


def load_model(path: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def remove_checkpoints(folder: Path, keep: Path | None = None) -> None:
    """Delete a run's checkpoints, those of other settings and damaged ones included, but for ``keep``."""
    for path in folder.glob("*"):
        if path != keep:
            path.unlink()
