"""Where a run by hand starts: the settings of the default comparison, for a command line that names none.

The workflow names every setting itself and takes nothing from here. `config/config.yaml` says the same to the workflow, and a test
holds the two together: ``ebmpipe train --dataset digits --method pcd`` trains the run that `make run` trains.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ebmpipe import registry
from ebmpipe.layers import Settings, merged
from ebmpipe.spec import Kind

#: What a data set may set, as in the workflow's config, with methods in place of labels.
StartingPoint = Settings

#: By kind of data. Image methods model data smoothed by noise, and samples end with the jump that takes it off again.
KINDS: Final[dict[Kind, StartingPoint]] = {
    "density": {
        "gradient_evaluations": 6_000_000,
        "sampling": {"n": 10_000, "steps": 500, "kernel": {"name": "mala", "settings": {"step_size": 0.25}}},
        "settings": {"nce": {"batch_size": 512}, "dsm": {"batch_size": 512}},
    },
    "vectors": {},
    "images": {
        "gradient_evaluations": 2_500_000,
        "sampling": {"n": 1000, "steps": 1000, "kernel": {"name": "mala", "settings": {"step_size": 0.2}}, "denoise": True},
        "settings": {
            "pcd": {"batch_size": 100, "chains": 400, "data_noise": 0.3, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}},
            "dsm": {"sigma": 0.3},
            "nce": {"data_noise": 0.3},
        },
    },
}

#: What single data sets set besides.
DATASETS: Final[dict[str, StartingPoint]] = {
    "digits": {"network": {"name": "mlp", "settings": {"width": 256, "depth": 2}}, "sampling": {"n": 397}},
}


def starting_point(dataset: str) -> StartingPoint:
    """``gradient_evaluations``, ``network``, ``sampling`` and, by method, ``settings`` for a data set; what is absent has its default.

    Raises:
        UnknownMember: if there is no such data set.
    """
    return merged(KINDS[registry.load("data", dataset).kind], DATASETS.get(dataset))


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `RunConfig` as ``given`` by hand, laid over the starting point of its data set and method.

    Raises:
        UnknownMember: if there is no such data set.
    """
    point = starting_point(given["dataset"])
    own: Settings = {key: point[key] for key in ("gradient_evaluations", "network") if key in point}
    own["settings"] = point.get("settings", {}).get(given["method"], {})
    return merged(own, {key: value for key, value in given.items() if value is not None})


def announced(given: dict[str, Any]) -> list[str]:
    """What `completed` adds to the method's and network's settings, in words; nothing where everything is given, as by the workflow."""
    before, after = given.get("settings") or {}, completed(given)
    added = {"network": after["network"]} if "network" in after and "network" not in given else {}
    if settings := {key: value for key, value in after["settings"].items() if key not in before}:
        added = {"settings": settings} | added
    return [f"{key}, where not given, as in the default comparison: {json.dumps(value)}" for key, value in added.items()]
