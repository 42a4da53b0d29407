"""What the package offers, as JSON: the only thing about methods that the Snakefile knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ebmpipe import registry
from ebmpipe.config import (
    COMPOSITION_SAMPLING,
    KINDS,
    EvaluationConfig,
    FilesConfig,
    KernelConfig,
    LongRunConfig,
    SamplingConfig,
    WorkflowConfig,
)
from ebmpipe.config_reference import reference
from ebmpipe.files import write_text
from ebmpipe.report import published

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
        "latent_space": method.latent_space,
        "generates": method.generates,
        "revises": method.revises,
        "references": [vars(reference) for reference in method.references],
        "defaults": method.Config().model_dump(mode="json"),
        "settings_by_kind": {kind: dict(settings) for kind, settings in method.settings_by_kind.items()},
        "schema": method.Config.model_json_schema(),
    }


def network_entry(network: Any) -> dict[str, Any]:
    """The entry of a network, or of a flow."""
    return {
        "revision": network.revision,
        "kinds": sorted(network.kinds),
        "defaults": network.Config().model_dump(mode="json"),
        "schema": network.Config.model_json_schema(),
    }


def sampler_entry(kernel: Any) -> dict[str, Any]:
    """A sampler's entry; its settings are its constructor's arguments."""
    return {"revision": kernel.revision, "kinds": sorted(kernel.kinds), "schema": kernel.settings_model().model_json_schema()}


def catalogue() -> dict[str, Any]:
    """Everything that a config can name, with defaults, schemas and revisions."""
    from ebmpipe import composing, flow_base, foreign, partition, proving, restoration
    from ebmpipe.evaluation import EVALUATION_REVISION
    from ebmpipe.features import choosing
    from ebmpipe.loading import TRAINING_REVISION
    from ebmpipe.long_run import LONG_RUN_REVISION
    from ebmpipe.sampling import SAMPLING_REVISION

    return {
        "training_revision": TRAINING_REVISION,
        "sampling_revision": SAMPLING_REVISION,
        "long_run_revision": LONG_RUN_REVISION,
        "evaluation_revision": EVALUATION_REVISION,
        "partition_revision": partition.REVISION,
        "base_revision": flow_base.REVISION,
        "composing_revision": composing.COMPOSING_REVISION,
        "composition_metrics": list(composing.FAMILIES),
        "foreign_revision": foreign.REVISION,
        "restoration_revision": restoration.REVISION,
        "methods": {name: method_entry(member) for name, member in registry.load_all("methods").items()},
        "networks": {name: network_entry(member) for name, member in registry.load_all("nets").items()},
        "flows": {name: network_entry(member) for name, member in registry.load_all("flows").items()},
        "samplers": {name: sampler_entry(member) for name, member in registry.load_all("samplers").items()},
        "datasets": {name: member.entry() for name, member in registry.load_all("data").items()},
        "metrics": {
            name: {"revision": m.revision, "ids": {key: vars(info) for key, info in m.ids.items()}}
            for name, m in registry.load_all("metrics").items()
        },
        "features": choosing.entries(),
        "theorems": {name: proving.entry(member) for name, member in registry.load_all("theorems").items()},
        "figures": {
            name: {"title": f.title, "category": f.category, "kinds": sorted(f.kinds), "needs": f.needs}
            for name, f in registry.load_all("report.figures").items()
        },
        "published": published.catalogue(),
        "defaults": {
            "kernel": KernelConfig().model_dump(mode="json"),
            "files": FilesConfig(path=".").model_dump(mode="json", exclude={"path"}),
            "kinds": {kind: defaults.model_dump(mode="json") for kind, defaults in KINDS.items()},
            "evaluation": EvaluationConfig().model_dump(mode="json"),
            "composition_sampling": COMPOSITION_SAMPLING.model_dump(mode="json"),
        },
        "schemas": {
            "sampling": SamplingConfig.model_json_schema(),
            "long_run": LongRunConfig.model_json_schema(),
            "evaluation": EvaluationConfig.model_json_schema(),
        },
    }


def closed(schema: Any) -> Any:
    """``schema`` with every mapping of identifiers closed to other keys, which pydantic leaves open and unchecked."""
    if isinstance(schema, dict):
        shut = {"additionalProperties": False} if "patternProperties" in schema else {}
        return {key: closed(value) for key, value in schema.items()} | shut
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


def texts() -> dict[str, str]:
    """Path below the project's folder -> content of each generated file."""
    both = {CATALOGUE: catalogue(), SCHEMA: closed(WorkflowConfig.model_json_schema())}
    return {name: json.dumps(value, indent=1, sort_keys=True) + "\n" for name, value in both.items()} | {REFERENCE: reference()}


def write(project: Path) -> list[Path]:
    """Write the generated files below ``project``; returns their paths.

    Raises:
        FileNotFoundError: if ``project`` is not the folder of a checkout.
    """
    if not (project / "workflow" / "rules").is_dir():
        raise FileNotFoundError(f"{project.absolute()} is not the project's folder: there is no workflow/rules in it; say --project")
    generated = texts()
    for name, text in generated.items():
        write_text(project / name, text)
    return [project / name for name in generated]
