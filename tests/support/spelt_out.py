"""The default comparison with everything said that it leaves to the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ebmpipe import registry
from ebmpipe.config import KINDS
from ebmpipe.layers import merged

DEFAULT = Path(__file__).parents[2] / "config/config.yaml"


def unsaid() -> dict[str, Any]:
    """config/config.yaml as it is."""
    config: dict[str, Any] = yaml.safe_load(DEFAULT.read_text())
    return config


def spelt_out() -> dict[str, Any]:
    """The same with what the classes say of kinds of data, data sets and methods, in the words of a config."""
    config = unsaid()
    methods = {label: registry.load("methods", given.get("method", label)) for label, given in config["methods"].items()}
    sets = {name: registry.load("data", name) for name in config["datasets"]}
    config["defaults"] = {}
    for kind in sorted({data.kind for data in sets.values()}):
        labels = {label for name, given in config["datasets"].items() if sets[name].kind == kind for label in given.get("labels", methods)}
        own = {label: dict(methods[label].settings_by_kind.get(kind, {})) for label in methods if label in labels}
        said = KINDS[kind].model_dump(mode="json") | {"settings": {label: settings for label, settings in own.items() if settings}}
        config["defaults"][kind] = said
    config["datasets"] = {name: merged(sets[name].starting_point, given) for name, given in config["datasets"].items()}
    # Classes may share a mapping of settings; written out, as in a file, each place has its own.
    return json.loads(json.dumps(config))
