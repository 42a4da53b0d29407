"""What feature networks have in common: weights beside a card that vouches for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe.files import REMEDY, CorruptFile, read_arrays, read_signed, sha256, write_arrays, write_signed


@dataclass(frozen=True)
class FeatureSpace:
    """What image metrics are computed in: the features of one network with fixed weights.

    Attributes:
        name: id of the feature network.
        dimension: number of features, d.
        weights_sha256: hexadecimal checksum of the file of its weights.
        preprocessing: what becomes of an image before it enters the network (resizing, clipping, quantisation), in words.
        extract: images in model space (n, *event) of any floating type -> features (n, d) float64, whatever the batch.
        logits: the same images -> logits (n, classes) float64, of a network whose classes mean something on any image; None of others.
    """

    name: str
    dimension: int
    weights_sha256: str
    preprocessing: str
    extract: Callable[[np.ndarray], np.ndarray]
    logits: Callable[[np.ndarray], np.ndarray] | None = None


#: What a feature network's folder holds.
FILES = ("*.safetensors", "*.json")


def network_in(folder: Path) -> str:
    """Name of the network in ``folder``.

    Raises:
        CorruptFile: if there is none, or more than one.
    """
    # Beside it lies what image metrics keep of the test split; they check that themselves and make it again.
    names = sorted({path.stem for pattern in FILES for path in folder.glob(pattern) if not path.name.startswith("reference-")})
    if len(names) != 1:
        raise CorruptFile(f"{folder} holds {len(names)} feature networks, not one; delete it and run `ebmpipe features` again")
    return names[0]


def write_network(out: Path, name: str, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``out/{name}.safetensors``, then the card ``out/{name}.json`` with its checksum; returns the card."""
    write_arrays(out / f"{name}.safetensors", weights)
    card = {**about, "name": name, "weights_sha256": sha256(out / f"{name}.safetensors")}
    write_signed(out / f"{name}.json", card)
    return card


def read_network(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Weights and card of the network ``name``.

    Raises:
        CorruptFile: if a file is missing or damaged, or the weights are not those that the card describes.
    """
    weights, card = folder / f"{name}.safetensors", folder / f"{name}.json"
    for path in (weights, card):
        if not path.is_file():
            raise CorruptFile(f"{path} does not exist; make it with `ebmpipe features`")
    try:
        about = read_signed(card)
    except CorruptFile as error:
        raise CorruptFile(f"{error}; {REMEDY}") from None
    if sha256(weights) != about.get("weights_sha256"):
        raise CorruptFile(f"{weights} is not the file that {card.name} describes; {REMEDY}")
    return read_arrays(weights)[0], about
