"""Which runs follow from a config, each with exactly its own settings. Reads JSON; imports neither torch nor pydantic models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Settings = dict[str, Any]


class ConfigError(ValueError):
    """A config that cannot be run; the text names the key and the valid choices."""


def merged(*parts: Mapping[str, Any] | None) -> Settings:
    """Nested dictionaries laid over each other; later ones win, a part that is None is absent.

    Settings of one member mean nothing to another: a kernel or network of another name replaces the earlier one whole.
    """
    result: Settings = {}
    for part in parts:
        for key, value in (part or {}).items():
            before = result.get(key)
            if isinstance(value, Mapping) and isinstance(before, Mapping) and value.get("name", before.get("name")) == before.get("name"):
                result[key] = merged(before, value)
            else:
                result[key] = value
    return result


def one_of(name: str, choices: Iterable[str], key: str) -> str:
    """``name`` if it is one of ``choices``.

    Raises:
        ConfigError: naming the key, the choices and the nearest one.
    """
    choices = sorted(choices)
    if name not in choices:
        near = get_close_matches(name, choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{key}: {name!r} is unknown.{hint} Valid: {', '.join(choices)}")
    return name


def check(value: Any, schema: Mapping[str, Any], key: str) -> None:
    """Validate ``value`` against a JSON schema.

    Raises:
        ConfigError: naming the offending key, what is wrong, and the nearest valid key if one was misspelt.
    """
    errors = sorted(Draft202012Validator(dict(schema)).iter_errors(value), key=lambda error: (len(error.absolute_path), str(error.message)))
    if not errors:
        return
    error = errors[0]
    where = ".".join([key, *map(str, error.absolute_path)]).strip(".")
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        valid = error.schema.get("properties", {})
        for name in error.instance:
            if name not in valid:
                one_of(name, valid, where or "config")
    raise ConfigError(f"{where or 'config'}: {error.message}")


@dataclass(frozen=True)
class Run:
    """One training run."""

    dataset: str
    label: str
    seed: int


class Plan:
    """A validated config, resolved against the catalogue.

    Args:
        config: the content of config.yaml.
        schema: the content of config.schema.json.
        catalogue: the content of catalogue.json.

    Raises:
        ConfigError: if the config cannot be run.
    """

    def __init__(self, config: Settings, schema: Settings, catalogue: Settings) -> None:
        check(config, schema, "")
        self.config, self.catalogue = config, catalogue
        self.results = Path(config.get("results", "results"))
        self.raw_data: str | None = config.get("raw_data") or os.environ.get("EBMPIPE_DATA_DIR")
        self.datasets: dict[str, Settings] = {name: merged(self._kind_defaults(name), given) for name, given in config["datasets"].items()}
        self.left_out = {
            name: missing for name, given in self.datasets.items() if given.get("optional") and (missing := self._missing(name))
        }
        for name in self.left_out:
            del self.datasets[name]
        if not self.datasets:
            raise ConfigError(f"datasets: none is at hand. {'; '.join(self.left_out.values())}")
        self.labels = {name: self._labels(name) for name in self.datasets}
        self.seeds: dict[str, list[int]] = {
            name: sorted(settings.get("seeds") or config.get("seeds", [0, 1])) for name, settings in self.datasets.items()
        }
        for dataset, labels in self.labels.items():
            for label in labels:
                self.run_settings(Run(dataset, label, 0))
            self.sampling_settings(dataset)
            self.evaluation_settings(dataset)

    def _kind(self, dataset: str) -> str:
        known = self.catalogue["datasets"]
        return str(known[one_of(dataset, known, "datasets")]["kind"])

    def _kind_defaults(self, dataset: str) -> Settings:
        """What the config says of all data sets of this one's kind."""
        defaults: Settings = self.config.get("defaults", {}).get(self._kind(dataset)) or {}
        return defaults

    def _missing(self, dataset: str) -> str | None:
        """Why a data set cannot be prepared here, None if its raw files are at hand."""
        entry = self.catalogue["datasets"][dataset]
        raw = Path(self.raw_data) if self.raw_data else None
        folders = [raw / name if raw else Path(name) for name in entry["raw_folders"] if raw or Path(name).is_absolute()]
        for file in entry["raw_files"]:
            if not any((folder / (file + ending)).is_file() for folder in folders for ending in ("", ".gz")):
                return f"{dataset} is left out: {file} is in none of {', '.join(map(str, folders)) or 'no folder (set EBMPIPE_DATA_DIR)'}"
        return None

    def method_of(self, label: str) -> str:
        """The method id behind a label."""
        given = (self.config["methods"][label] or {}).get("method")
        if given and ":" in given:
            return str(given)
        return one_of(given or label, self.catalogue["methods"], f"methods.{label}" + (".method" if given else ""))

    def _method_entry(self, label: str) -> Settings:
        entry: Settings = self.catalogue["methods"].get(self.method_of(label), {})
        return entry

    def _labels(self, dataset: str) -> list[str]:
        """The rows of one data set: those it names, or all whose method takes its kind of data."""
        kind, named = self._kind(dataset), self.datasets[dataset].get("labels")
        for label in [*(named or []), *self.datasets[dataset].get("settings", {})]:
            one_of(label, self.config["methods"], f"datasets.{dataset}")
        fitting = [label for label in self.config["methods"] if kind in self._method_entry(label).get("kinds", [kind])]
        for label in named or []:
            if label not in fitting:
                kinds = ", ".join(self._method_entry(label)["kinds"])
                raise ConfigError(f"datasets.{dataset}.labels: {label!r} takes {kinds}; {dataset} is {kind}")
        return list(named or fitting)

    @property
    def runs(self) -> list[Run]:
        """Every run of the comparison."""
        return [Run(d, label, seed) for d, labels in self.labels.items() for label in labels for seed in self.seeds[d]]

    def required(self, run: Run) -> dict[str, Run]:
        """The runs that ``run`` builds on, by role.

        Raises:
            ConfigError: if a role is missing or unknown, or its label is not among the data set's.
        """
        given = (self.config["methods"][run.label] or {}).get("requires", {})
        key, roles = f"methods.{run.label}.requires", self._method_entry(run.label).get("requires", list(given))
        for role in given:
            one_of(role, roles, key)
        for role in roles:
            if role not in given:
                raise ConfigError(f"{key}: {self.method_of(run.label)} needs the label of its {role}, as in `requires: {{{role}: ...}}`")
        return {role: Run(run.dataset, one_of(label, self.labels[run.dataset], f"{key}.{role}"), run.seed) for role, label in given.items()}

    def _kernel_revision(self, kernel: Settings, key: str) -> dict[str, int]:
        known = self.catalogue["samplers"]
        entry = known[one_of(kernel["name"], known, f"{key}.name")]
        for setting in kernel["settings"]:
            one_of(setting, entry["settings"], f"{key}.settings")
        for setting in entry["required"]:
            if kernel["settings"].get(setting) is None:
                raise ConfigError(f"{key}.settings: {kernel['name']} needs {setting}")
        return {f"sampler:{kernel['name']}": entry["revision"]}

    def run_settings(self, run: Run) -> Settings:
        """What config.json of a run will hold: every setting with its default filled in, and the revisions it uses."""
        settings, method, entry = self.datasets[run.dataset], self.method_of(run.label), self._method_entry(run.label)
        key = f"methods.{run.label}.settings"
        label = self.config["methods"][run.label] or {}
        layers = self._kind_defaults(run.dataset), {"settings": {run.label: label.get("settings")}}, self.config["datasets"][run.dataset]
        own = merged(*((layer or {}).get("settings", {}).get(run.label) for layer in layers))
        if entry:
            check(own, entry["schema"], f"{key} (on {run.dataset})")
        own = merged(entry.get("defaults"), own)
        revisions = {
            "training": self.catalogue["training_revision"],
            f"data:{run.dataset}": self.catalogue["datasets"][run.dataset]["revision"],
        }
        revisions |= {f"method:{method}": entry["revision"]} if entry else {}
        if "kernel" in own:
            revisions |= self._kernel_revision(own["kernel"], f"{key}.kernel")
        defaults = self.catalogue["defaults"]["run"]
        network = merged(defaults["network"], settings.get("network"))
        known = self.catalogue["networks"]
        member = known[one_of(network["name"], known, f"datasets.{run.dataset}.network.name")]
        check(network["settings"], member["schema"], f"datasets.{run.dataset}.network.settings")
        revisions[f"network:{network['name']}"] = member["revision"]
        return {
            "dataset": run.dataset,
            "label": run.label,
            "method": method,
            "seed": run.seed,
            "network": network | {"settings": merged(member["defaults"], network["settings"])},
            "settings": own,
            "gradient_evaluations": settings.get("gradient_evaluations") or defaults["gradient_evaluations"],
            "requires": {role: other.label for role, other in self.required(run).items()},
            "revisions": revisions,
        }

    def _stage_settings(self, dataset: str, stage: str) -> Settings:
        given = self.datasets[dataset].get(stage, {})
        check(given, self.catalogue["schemas"][stage], f"datasets.{dataset}.{stage}")
        return merged(self.catalogue["defaults"][stage], given)

    def sampling_settings(self, dataset: str) -> Settings:
        """How fresh samples are drawn on a data set."""
        settings = self._stage_settings(dataset, "sampling")
        self._kernel_revision(settings["kernel"], f"datasets.{dataset}.sampling.kernel")
        return settings

    def sampling_revisions(self, dataset: str) -> dict[str, int]:
        """Revisions that the sample stage uses."""
        return self._kernel_revision(self.sampling_settings(dataset)["kernel"], "")

    def evaluation_settings(self, dataset: str) -> Settings:
        """What is measured on a data set."""
        settings = self._stage_settings(dataset, "evaluation")
        for name in settings["metrics"] or []:
            one_of(name, self.catalogue["metrics"], f"datasets.{dataset}.evaluation.metrics")
        return settings

    def evaluation_revisions(self, dataset: str) -> dict[str, int]:
        """Revisions that the evaluate stage uses."""
        known = self.catalogue["metrics"]
        return {f"metric:{name}": known[name]["revision"] for name in self.evaluation_settings(dataset)["metrics"] or known}

    def has_features(self, dataset: str) -> bool:
        """Whether the data set's own classifier serves as feature network: labelled images."""
        entry = self.catalogue["datasets"][dataset]
        return bool(entry["kind"] == "images" and entry["classes"])

    def figures(self, dataset: str) -> list[str]:
        """The figures of one data set."""
        return [name for name, entry in self.catalogue["figures"].items() if self._kind(dataset) in entry["kinds"]]

    def overview_figures(self) -> list[str]:
        """The figures that span all data sets."""
        return [name for name, entry in self.catalogue["figures"].items() if not entry["kinds"]]

    def table(self, dataset: str | None = None) -> dict[str, dict[str, list[int]]]:
        """{dataset: {label: [seeds]}} of one data set or of all."""
        chosen = [dataset] if dataset else list(self.datasets)
        return {name: dict.fromkeys(self.labels[name], self.seeds[name]) for name in chosen}
