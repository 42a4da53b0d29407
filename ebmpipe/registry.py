"""Members (methods, samplers, networks, data sets, metrics, feature networks, theorems, figures) found by their file's name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from difflib import get_close_matches
from typing import Any

#: Modules of a member package that are not members themselves.
SHARED = {
    *("base", "template"),  # of several kinds
    *("archives", "checksums", "dequantised", "fetching", "idx", "mixtures"),  # data
    *("pickled_batches", "prepared", "resizing", "splitting", "transfer"),  # data
    *("dealing", "finding", "listing", "own", "own_files", "own_images", "own_vectors", "tables"),  # data of one's own
    *("decoding", "image_files", "image_sets", "zips"),  # data in image files
    *(
        "contrastive",
        "f_divergences",
        "generator_family",
        "grid_function",
        "many_levels",
        "multigrid",
        "neighbours",
        "noise_contrast",
    ),  # methods
    *("noise_flow", "noisy_generator", "particle_dynamics", "persistence", "single_flips", "tangent_network"),  # methods
    *("tilting", "transported", "walkers"),  # methods
    *("adaptation", "coupling", "leapfrog", "reflection"),  # samplers
    *("perceptron", "spectral", "stem"),  # networks
    *("glow_steps", "law", "standard", "zuko_flow"),  # flows
    *("choosing", "making", "published", "trained"),  # feature networks
    *("contractions", "examples", "flows", "laws", "limits"),  # theorems
}


class UnknownMember(ValueError):
    """Raised when no member has the asked-for name; the message lists the valid ones."""


def names(package: str) -> list[str]:
    """Ids of all members of ``ebmpipe.<package>``, sorted; imports none of them."""
    path = importlib.import_module(f"ebmpipe.{package}").__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.ispkg and m.name not in SHARED)


def load(package: str, name: str) -> Any:
    """The class of member ``name``: a file of ``ebmpipe.<package>``, or ``module:Class`` for one's own.

    Raises:
        UnknownMember: if there is no such member.
    """
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise UnknownMember(f"cannot import {name!r} as one of the {package}: {error}") from error
        if not (hasattr(found, "name") and hasattr(found, "revision")):
            raise UnknownMember(f"{name!r} is none of the {package}: it has no name and revision, as their base class asks for")
        return found
    if name not in names(package):
        near = get_close_matches(name, names(package), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownMember(f"{name!r} is none of the {package}: {', '.join(names(package))}{hint}")
    module = importlib.import_module(f"ebmpipe.{package}.{name}")
    for _, member in inspect.getmembers(module, inspect.isclass):
        if member.__module__ == module.__name__ and getattr(member, "name", None) == name:
            return member
    raise UnknownMember(f"ebmpipe/{package}/{name}.py defines no class with name = {name!r}")


def load_all(package: str) -> dict[str, Any]:
    """All members of ``ebmpipe.<package>`` by id."""
    return {name: load(package, name) for name in names(package)}
