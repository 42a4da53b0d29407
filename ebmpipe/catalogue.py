"""What the package offers, as JSON: the only thing about methods that the Snakefile knows."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from ebmpipe import registry
from ebmpipe.config import EvaluationConfig, RunConfig, SamplingConfig, WorkflowConfig
from ebmpipe.config_reference import reference
from ebmpipe.files import write_text

CATALOGUE = "workflow/schemas/catalogue.json"
SCHEMA = "workflow/schemas/config.schema.json"
REFERENCE = "config/README.md"


def method_entry(method: Any) -> dict[str, Any]:
    """A method's entry."""
    return {
        "title": method.title,
        "revision": method.revision,
        "kinds": sorted(method.kinds),
        "requires": list(method.requires),
        "control": method.control,
        "references": [vars(reference) for reference in method.references],
        "defaults": method.Config().model_dump(mode="json"),
        "schema": method.Config.model_json_schema(),
    }


def network_entry(network: Any) -> dict[str, Any]:
    """A network's entry."""
    return {
        "revision": network.revision,
        "kinds": sorted(network.kinds),
        "defaults": network.Config().model_dump(mode="json"),
        "schema": network.Config.model_json_schema(),
    }


def sampler_entry(kernel: Any) -> dict[str, Any]:
    """A sampler's entry; its settings are its constructor's arguments."""
    parameters = list(inspect.signature(kernel.__init__).parameters.values())[1:]
    return {
        "revision": kernel.revision,
        "settings": [p.name for p in parameters],
        "required": [p.name for p in parameters if p.default is inspect.Parameter.empty],
    }


def catalogue() -> dict[str, Any]:
    """Everything that a config can name, with defaults, schemas and revisions."""
    from ebmpipe.features import lenet
    from ebmpipe.training import REVISION

    return {
        "training_revision": REVISION,
        "features_revision": lenet.REVISION,
        "methods": {name: method_entry(member) for name, member in registry.load_all("methods").items()},
        "networks": {name: network_entry(member) for name, member in registry.load_all("nets").items()},
        "samplers": {name: sampler_entry(member) for name, member in registry.load_all("samplers").items()},
        "datasets": {
            name: {
                "title": d.title,
                "kind": d.kind,
                "shape": list(d.shape),
                "classes": d.classes,
                "revision": d.revision,
                "raw_files": list(d.raw_files),
                "raw_folders": list(d.raw_folders),
            }
            for name, d in registry.load_all("data").items()
        },
        "metrics": {
            name: {"revision": m.revision, "ids": {key: vars(info) for key, info in m.ids.items()}}
            for name, m in registry.load_all("metrics").items()
        },
        "figures": {
            name: {"title": f.title, "category": f.category, "kinds": sorted(f.kinds)}
            for name, f in registry.load_all("report.figures").items()
        },
        "defaults": {
            "run": RunConfig(dataset="x", label="x", method="x").model_dump(mode="json", exclude={"dataset", "label", "method"}),
            "sampling": SamplingConfig().model_dump(mode="json"),
            "evaluation": EvaluationConfig().model_dump(mode="json"),
        },
        "schemas": {"sampling": SamplingConfig.model_json_schema(), "evaluation": EvaluationConfig.model_json_schema()},
    }


def texts() -> dict[str, str]:
    """Path below the project's folder -> content of each generated file."""
    both = {CATALOGUE: catalogue(), SCHEMA: WorkflowConfig.model_json_schema()}
    return {name: json.dumps(value, indent=1, sort_keys=True) + "\n" for name, value in both.items()} | {REFERENCE: reference()}


def write(project: Path) -> list[Path]:
    """Write the generated files below ``project``; returns their paths."""
    generated = texts()
    for name, text in generated.items():
        write_text(project / name, text)
    return [project / name for name in generated]
