"""The features stage: one feature network of one data set."""

from __future__ import annotations

from pathlib import Path

from ebmpipe import registry
from ebmpipe.data.prepared import Prepared
from ebmpipe.features.choosing import by_default, entries


def make_network(dataset: str, name: str | None, results: Path, seed: int, download: bool = False) -> str:
    """Make a feature network of a prepared data set in ``results/features/{dataset}``; returns what there is to say of it.

    Args:
        dataset: id of the data set.
        name: id of the network; None for the one that is trained by default.
        results: folder of everything the workflow makes.
        seed: root of all randomness.
        download: whether to bring published weights from the network, if they are not at hand.

    Raises:
        UnknownMember: if there is no such network.
        ValueError: if it does not take the data, or its weights are not to be had.
    """
    prepared = results / "data" / dataset
    if name is None:
        spec = Prepared(prepared).spec
        trained = by_default(entries(), spec.kind, spec.classes, lambda published: "not trained")
        if not trained:
            raise ValueError(f"a feature network is made of images; {spec.name} has none")
        name = trained[0]
    network = registry.load("features", name)()
    if download:
        print(f"{name}: weights in {network.download()}")
    return f"{name}: {network.told(network.make(prepared, results / 'features' / dataset, seed))}"
