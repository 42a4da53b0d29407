"""Where a run starts on a data set: what holds where neither a config nor the command line says otherwise.

The same for the workflow, which reads it in the catalogue: ``ebmpipe train --dataset digits --method pcd`` trains a run of `make run`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ebmpipe import registry
from ebmpipe.budget import LENGTHS
from ebmpipe.config import KINDS
from ebmpipe.data.base import DataSet
from ebmpipe.data.finding import find
from ebmpipe.layers import Settings, merged


def starting_point(dataset: str, folder: Path | None = None) -> Settings:
    """``gradient_evaluations``, ``network`` and settings of stages on a data set: its kind's, with its own laid over them.

    Args:
        dataset: its id.
        folder: where it is prepared; needed for data of the user's own.

    Raises:
        UnknownMember: if there is no such data set.
    """
    return starting_point_of(find(dataset, folder))


def starting_point_of(data: type[DataSet]) -> Settings:
    """`starting_point` of a data set that is at hand."""
    return merged(KINDS[data.kind].model_dump(mode="json"), data.starting_point)


def completed(given: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """The fields of a `RunConfig` as ``given`` by hand, with budget and network of the data set's starting point where they are absent.

    A run of so many updates, or operations, has no budget.

    Args:
        given: the fields.
        folder: where the data set is prepared; needed for data of the user's own.

    Raises:
        UnknownMember: if there is no such data set.
    """
    point = starting_point(given["dataset"], folder)
    own = {"network": point["network"]}
    if all(given.get(length) is None for length in LENGTHS):
        own["gradient_evaluations"] = point["gradient_evaluations"]
    return merged(own, {key: value for key, value in given.items() if value is not None})


def announced(given: dict[str, Any], folder: Path | None = None) -> list[str]:
    """What a run by hand takes from its kind of data or data set, in words; nothing where everything is given, as by the workflow."""
    data, method = find(given["dataset"], folder), registry.load("methods", given["method"])
    settings = {key: value for key, value in method.settings_by_kind.get(data.kind, {}).items() if key not in (given.get("settings") or {})}
    added = {"settings": settings} if settings else {}
    added |= {} if "network" in given or method.control else {"network": starting_point_of(data)["network"]}
    return [f"{key}, where not given, as on {data.name} by default: {json.dumps(value)}" for key, value in added.items()]
