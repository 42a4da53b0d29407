"""Checkpoints: one safetensors file that holds everything the next update depends on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ebmpipe.files import atomic, digest, header


def checkpoint_key(config: dict[str, Any], inputs: dict[str, str]) -> str:
    """Names the training run that a checkpoint belongs to: another setting, revision or input (by checksum) gives another key."""
    return digest({"config": config, "inputs": inputs})[:16]


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

    def save(self, path: Path) -> None:
        """Write atomically: a crash while writing leaves the checkpoint before."""
        tensors = {f"model.{name}": value.detach().cpu().contiguous().clone() for name, value in self.model.items()}
        tensors["generator"] = self.generator.cpu()
        metadata = {"step": str(self.step), "history": json.dumps(self.history), "extra": json.dumps(self.extra)}
        with atomic(path) as temporary:
            temporary.write_bytes(save(tensors, header(metadata)))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint onto the CPU.

        Raises:
            ValueError: naming the file, if it is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = json.loads(file.metadata()["json"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            return cls(
                step=int(metadata["step"]),
                model={name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")},
                generator=tensors["generator"],
                history=json.loads(metadata["history"]),
                extra=json.loads(metadata["extra"]),
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"checkpoint {path} is damaged ({error}); delete it to start this run afresh") from error


def save_model(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a method's state dict as safetensors."""
    with atomic(path) as temporary:
        temporary.write_bytes(save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, header(metadata)))


def load_model(path: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run that is done, those of other settings included: nothing will resume from them."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
