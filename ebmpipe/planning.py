"""Which runs follow from a config, each with exactly its own settings. Reads JSON; imports neither torch nor pydantic models."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
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
        patterns = error.schema.get("patternProperties")
        for name in error.instance:
            if patterns and not any(re.search(pattern, str(name)) for pattern in patterns):
                raise ConfigError(f"{where}: {name!r} is no id: lower-case letters, digits and _, starting with a letter")
            if not patterns and name not in valid:
                one_of(name, valid, where or "config")
    raise ConfigError(f"{where or 'config'}: {error.message}")


def imported(name: str, key: str) -> dict[str, int]:
    """Check that the module of ``module:Class`` can be found, without importing it; returns what stands for its revision.

    That is a number made from its source: nobody bumps the revisions of code that the catalogue does not know.

    Raises:
        ConfigError: if it cannot.
    """
    module = name.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None:
        raise ConfigError(f"{key}: there is no module {module!r} to import {name!r} from; install it or add its folder to PYTHONPATH")
    source = Path(found.origin).read_bytes() if found.origin and Path(found.origin).is_file() else b""
    return {f"source:{module}": int(hashlib.sha256(source).hexdigest()[:8], 16)}


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
        for name in self.datasets:
            if missing := self._missing(name):
                raise ConfigError(f"datasets.{name}: {missing}. With `optional: true` it is left out instead")
        if not self.datasets:
            raise ConfigError(f"datasets: none is at hand. {'; '.join(self.notices)}")
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

    @property
    def notices(self) -> list[str]:
        """Which optional data sets are left out, and why."""
        return [f"{name} is left out: {why}" for name, why in self.left_out.items()]

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
                place = (
                    f"in none of {', '.join(map(str, folders))}" if folders else "nowhere, as neither EBMPIPE_DATA_DIR nor raw_data is set"
                )
                return f"{file} is {place}"
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
        given = {
            f"defaults.{kind}.settings": self._kind_defaults(dataset).get("settings"),
            f"datasets.{dataset}.settings": (self.config["datasets"][dataset] or {}).get("settings"),
            f"datasets.{dataset}.labels": named,
        }
        for key, labels in given.items():
            for label in labels or ():
                one_of(label, self.config["methods"], key)
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
        check(kernel["settings"], entry["schema"], f"{key}.settings")
        return {f"sampler:{kernel['name']}": entry["revision"]}

    def _network_entry(self, network: Settings, key: str) -> Settings:
        """The catalogue's entry of a network whose settings are in order; empty for one of the user's own."""
        if ":" in network["name"]:
            return {}
        known = self.catalogue["networks"]
        entry: Settings = known[one_of(network["name"], known, f"{key}.name")]
        check(network.get("settings", {}), entry["schema"], f"{key}.settings")
        return entry

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
        revisions |= {f"method:{method}": entry["revision"]} if entry else imported(method, f"methods.{run.label}.method")
        if "kernel" in own:
            revisions |= self._kernel_revision(own["kernel"], f"{key}.kernel")
        defaults = self.catalogue["defaults"]["run"]
        layers_of_network = self.catalogue["defaults"]["networks"][self._kind(run.dataset)], settings.get("network")
        network = merged(*({"network": layer} for layer in layers_of_network if layer))["network"]
        member = self._network_entry(network, f"datasets.{run.dataset}.network")
        own_network = f"datasets.{run.dataset}.network.name"
        revisions |= {f"network:{network['name']}": member["revision"]} if member else imported(network["name"], own_network)
        return {
            "dataset": run.dataset,
            "label": run.label,
            "method": method,
            "seed": run.seed,
            "network": network | {"settings": merged(member.get("defaults"), network.get("settings"))},
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

    def table(self) -> dict[str, dict[str, list[int]]]:
        """The comparison as {dataset: {label: [seeds]}}."""
        return {name: dict.fromkeys(self.labels[name], self.seeds[name]) for name in self.datasets}
