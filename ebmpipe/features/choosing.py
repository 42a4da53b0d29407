"""Which feature networks serve a data set, and loading them. Works on the entries of the catalogue, so that planning needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ebmpipe import registry

if TYPE_CHECKING:
    from ebmpipe.features.base import FeatureNetwork, FeatureSpace
    from ebmpipe.spec import DataSpec

#: Whether the classes of images are known.
Labelling = Literal["labelled", "unlabelled"]

#: By the id of a network, what `entry` says of it.
Entries = Mapping[str, Mapping[str, Any]]


def labelling(classes: int | None) -> Labelling:
    """Whether a data set of so many classes, or None, is labelled."""
    return "unlabelled" if classes is None else "labelled"


def entry(network: type[FeatureNetwork]) -> dict[str, Any]:
    """What the catalogue says of a network."""
    return {
        "title": network.title,
        "revision": network.revision,
        "takes": sorted(network.takes),
        "default_on": sorted(network.default_on),
        "published": network.published,
        "classifies": network.classifies,
    }


def entries() -> dict[str, dict[str, Any]]:
    """What there is to say of every network."""
    return {name: entry(network) for name, network in registry.load_all("features").items()}


def applying(known: Entries, kind: str, classes: int | None) -> list[str]:
    """The networks that can be made for a data set; trained ones before published ones, and by name.

    Args:
        known: the networks.
        kind: kind of data.
        classes: number of classes, None if unlabelled.
    """
    found = [name for name, one in known.items() if kind == "images" and labelling(classes) in one["takes"]]
    return sorted(found, key=lambda name: (known[name]["published"], name))


def by_default(known: Entries, kind: str, classes: int | None, unavailable: Callable[[str], str | None]) -> list[str]:
    """The networks that serve where a config names none: the data set's own, and the published ones that are at hand.

    Args:
        known: the networks.
        kind: kind of data.
        classes: number of classes, None if unlabelled.
        unavailable: from the name of a published network to why it is not at hand, None if it is.
    """
    chosen = [name for name in applying(known, kind, classes) if labelling(classes) in known[name]["default_on"]]
    return [name for name in chosen if not known[name]["published"] or unavailable(name) is None]


def classifier(known: Entries, names: list[str]) -> str | None:
    """The first of ``names`` that tells a data set's own classes apart; None if none does."""
    return next((name for name in names if known[name]["classifies"]), None)


def classifier_made(spec: DataSpec, folder: Path) -> str | None:
    """The network that tells the classes of a data set apart, if one was made in ``folder``; a look at names."""
    fitting = applying(entries(), spec.kind, spec.classes)
    return classifier(entries(), [name for name in fitting if (folder / f"{name}.json").is_file()])


def load_spaces(names: list[str] | None, spec: DataSpec, folder: Path | None) -> tuple[FeatureSpace, ...]:
    """The spaces that a data set's images are compared in, the primary one first.

    Args:
        names: ids of networks; None for those that serve by default, as far as they were made.
        spec: the data set.
        folder: its feature networks; None if there are none.

    Raises:
        ValueError: if a network that is named was not made or does not take the data, or one is damaged.
    """
    if names is None:
        served = by_default(entries(), spec.kind, spec.classes, lambda name: None)
        names = [name for name in served if folder is not None and (folder / f"{name}.json").is_file()]
    spaces = []
    for name in names:
        network = registry.load("features", name)
        if not applying({name: entry(network)}, spec.kind, spec.classes):
            raise ValueError(f"{name} takes {' or '.join(sorted(network.takes))} images, which {spec.name} has not")
        if folder is None:
            raise ValueError(f"{spec.name} is to be measured in {name} features, but there is no folder of feature networks")
        spaces.append(network().load(folder))
    return tuple(spaces)


def absent_spaces(spaces: tuple[FeatureSpace, ...], spec: DataSpec) -> dict[str, str]:
    """Published networks that the images could be compared in and are not, each with the reason."""
    known = entries()
    absent = [name for name in applying(known, spec.kind, spec.classes) if known[name]["published"]]
    return {
        name: registry.load("features", name).unavailable_reason() or f"{name} is not among the feature networks that the config names"
        for name in absent
        if name not in {space.name for space in spaces}
    }
