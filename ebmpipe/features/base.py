"""The contract of a feature network, and what all have in common: a card that vouches for their weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.features.choosing import Labelling, labelling
from ebmpipe.files import REMEDY, CorruptFile, read_arrays, read_signed, sha256, write_arrays, write_signed
from ebmpipe.spec import DataSpec


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
        classes: the same images -> which of the data set's own classes each looks most like, (n,) int64, of a network that was trained to
            tell them apart; None of others.
    """

    name: str
    dimension: int
    weights_sha256: str
    preprocessing: str
    extract: Callable[[np.ndarray], np.ndarray]
    logits: Callable[[np.ndarray], np.ndarray] | None = None
    classes: Callable[[np.ndarray], np.ndarray] | None = None


class FeatureNetwork(ABC):
    """A network in whose features images are compared: trained here on a data set's own images, or published by others.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the same data and seed would give other features.
        title: what it is, in a few words.
        takes: the images that it can be made for.
        default_on: those for which it serves where a config names no network; at most one trained network each.
        published: whether others trained it. Its weights lie in no results folder, and its module loads without torch.
        classifies: whether it tells the data set's own classes apart, so that its space has `FeatureSpace.classes`.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    title: ClassVar[str]
    takes: ClassVar[frozenset[Labelling]]
    default_on: ClassVar[frozenset[Labelling]]
    published: ClassVar[bool] = False
    classifies: ClassVar[bool] = False

    @classmethod
    def applies(cls, spec: DataSpec) -> bool:
        """Whether it can be made for these data, here and now."""
        return spec.kind == "images" and labelling(spec.classes) in cls.takes and cls.unavailable_reason() is None

    @classmethod
    def unavailable_reason(cls, folder: Path | None = None) -> str | None:
        """Why there is no such network on this machine and what to do about it, None if there is; a look at names, not at contents.

        Args:
            folder: where the user keeps published weights; `EBMPIPE_WEIGHTS_DIR` if None.
        """
        return None

    @classmethod
    def download(cls) -> Path:
        """Bring its published weights here, if they are not; returns where they are.

        Raises:
            ValueError: if it has none, or they are not to be had.
        """
        raise ValueError(f"{cls.name} is trained here: it has no weights to download")

    @abstractmethod
    def make(self, prepared_folder: Path, out: Path, seed: int) -> dict[str, Any]:
        """Train it on a prepared data set, or verify its published weights; write its card and, if it was trained, its weights.

        Args:
            prepared_folder: what `ebmpipe prepare` wrote.
            out: folder of the data set's feature networks.
            seed: root of all randomness.

        Returns:
            The card, as written to ``out/{name}.json``.

        Raises:
            ValueError: if the data are not what it takes, or its weights are not to be had.
        """

    @abstractmethod
    def load(self, folder: Path) -> FeatureSpace:
        """The features of the network that `make` made in ``folder``.

        Raises:
            CorruptFile: if its weights or its card are missing, damaged, or do not belong together.
        """

    @abstractmethod
    def told(self, card: Mapping[str, Any]) -> str:
        """What there is to say of a network when it has been made, in one line."""


def networks_in(folder: Path) -> list[str]:
    """Names of the networks of which ``folder`` holds any file; what else lies there is named otherwise."""
    paths = [path for ending in ("safetensors", "json") for path in folder.glob(f"*.{ending}")]
    return sorted({path.stem for path in paths if path.stem.isidentifier()})


def write_card(out: Path, name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the card ``out/{name}.json``, with a checksum of its own; returns it."""
    card = {**about, "name": name}
    write_signed(out / f"{name}.json", card)
    return card


def read_card(folder: Path, name: str) -> dict[str, Any]:
    """The card of the network ``name``.

    Raises:
        CorruptFile: if it is missing or damaged.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise CorruptFile(f"{path} does not exist; make it with `ebmpipe features`")
    try:
        return read_signed(path)
    except CorruptFile as error:
        raise CorruptFile(f"{error}; {REMEDY}") from None


def write_network(out: Path, name: str, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``out/{name}.safetensors``, then the card with its checksum; returns the card."""
    write_arrays(out / f"{name}.safetensors", weights)
    return write_card(out, name, {**about, "weights_sha256": sha256(out / f"{name}.safetensors")})


def read_network(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Weights and card of the network ``name``.

    Raises:
        CorruptFile: if a file is missing or damaged, or the weights are not those that the card describes.
    """
    weights = folder / f"{name}.safetensors"
    if not weights.is_file():
        raise CorruptFile(f"{weights} does not exist; make it with `ebmpipe features`")
    about = read_card(folder, name)
    if sha256(weights) != about.get("weights_sha256"):
        raise CorruptFile(f"{weights} is not the file that {name}.json describes; {REMEDY}")
    return read_arrays(weights)[0], about


def check_network(folder: Path, name: str) -> None:
    """Hold the files of a network against its card. Published weights lie elsewhere and are checked whenever they are loaded.

    Raises:
        CorruptFile: as `read_network`.
    """
    if not read_card(folder, name).get("published"):
        read_network(folder, name)
