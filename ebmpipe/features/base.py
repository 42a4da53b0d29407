"""What feature networks have in common: weights beside a card that vouches for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ebmpipe.files import read_arrays, read_json, sha256, write_arrays, write_json


def write_network(out: Path, name: str, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``out/{name}.safetensors``, then the card ``out/{name}.json`` with its checksum; returns the card."""
    write_arrays(out / f"{name}.safetensors", weights)
    card = {**about, "name": name, "sha256": sha256(out / f"{name}.safetensors")}
    write_json(out / f"{name}.json", card)
    return card


def read_network(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Weights and card of the network ``name``.

    Raises:
        ValueError: if a file is missing, or the weights are not those that the card describes.
    """
    weights, card = folder / f"{name}.safetensors", folder / f"{name}.json"
    for path in (weights, card):
        if not path.is_file():
            raise ValueError(f"{path} does not exist; make it with `ebmpipe features`")
    about: dict[str, Any] = read_json(card)
    if sha256(weights) != about.get("sha256"):
        raise ValueError(f"{weights} is not the file that {card.name} describes; run `ebmpipe features` again")
    return read_arrays(weights)[0], about
