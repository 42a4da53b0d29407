"""Which runs follow from a config, each with exactly its own settings. Reads JSON; imports neither torch nor pydantic models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ebmpipe import registry
from ebmpipe.checking import ConfigError, Key, check, dotted, one_of, plain
from ebmpipe.data.fetching import at_hand, folders, lacking
from ebmpipe.features.choosing import applying, by_default, classifier, labelling
from ebmpipe.foreign import choosing as foreign
from ebmpipe.layers import Layered, Settings, merged
from ebmpipe.resolving import Resolver, filled
from ebmpipe.writable import writable

if TYPE_CHECKING:
    from ebmpipe.data.base import DataSet
    from ebmpipe.data.own import OwnData

#: The setting that makes a classifier of a method's energy.
CLASSIFIER = "cross_entropy"
#: The family of metrics that needs a base to anneal from, that which needs other data sets, and those that restore examples by chains.
ANNEALING = "annealing"
OUT_OF_DISTRIBUTION = "out_of_distribution"
RESTORING = {"denoising", "inpainting"}

#: The families of metrics that need a long run.
OF_LONG_RUNS = ("long_run", "mixing")


@dataclass(frozen=True)
class Run:
    """One training run."""

    dataset: str
    label: str
    seed: int


def check_results(plan: Plan) -> None:
    """Refuse a folder of results that cannot be written, or made.

    Raises:
        ConfigError: if so.
    """
    there, reason = writable(plan.results)
    if reason is not None:
        raise ConfigError(f"results: {plan.results} cannot be written ({there}: {reason}); name another folder", ("results",))


class Plan(Resolver):
    """A validated config, resolved against the catalogue.

    Args:
        config: the content of config.yaml.
        schema: the content of config.schema.json.
        catalogue: the content of catalogue.json.

    Raises:
        ConfigError: if the config cannot be run.
    """

    def __init__(self, config: Settings, schema: Settings, catalogue: Settings) -> None:
        plain(config)
        config = filled(config)
        check(config, schema)
        self._own = self._own_data(config, catalogue)
        self._absent = [name for name in config["datasets"] if name in self._own and self._own[name] is None]
        config = {**config, "datasets": {name: given for name, given in config["datasets"].items() if name not in self._absent}}
        of_own = {name: source.entry() for name, source in self._own.items() if source is not None}
        super().__init__(config, {**catalogue, "datasets": {**catalogue["datasets"], **of_own}})
        self.results = Path(config.get("results", "results"))
        self.raw_data: str | None = config.get("raw_data") or os.environ.get("EBMPIPE_DATA_DIR")
        self.weights: str | None = config.get("weights") or os.environ.get("EBMPIPE_WEIGHTS_DIR")
        for name in config["datasets"]:
            one_of(name, self.catalogue["datasets"], ("datasets",), ("datasets", name))
        for label in config["methods"]:
            self.method_of(label)
        self.datasets: dict[str, Settings] = {name: merged(self._kind_defaults(name), given) for name, given in config["datasets"].items()}
        self._optional = {name for name, settings in self.datasets.items() if settings.get("optional")}
        self.labels = {name: self._labels(name) for name in self.datasets}
        self.seeds: dict[str, list[int]] = {
            name: sorted(settings.get("seeds") or config.get("seeds", [0, 1])) for name, settings in self.datasets.items()
        }
        self._check_all()
        self.compositions: dict[str, Settings] = {name: self._composition(name) for name in config.get("compositions", {})}
        self.left_out = {name: missing for name in self.datasets if (missing := self._missing(name))}
        for name, missing in self.left_out.items():
            if not self.datasets[name].get("optional"):
                text = f"datasets.{name}: {missing}. With `optional: true` it is left out instead"
                raise ConfigError(text, ("datasets", name))
            for of_dataset in (self.datasets, self.labels, self.seeds):
                del of_dataset[name]
        for name, settings in list(self.compositions.items()):
            if any(part.partition("/")[0] in self.left_out for part in settings["of"]):
                del self.compositions[name]
        if not self.datasets:
            raise ConfigError(f"datasets: none is at hand. {'; '.join(self.notices)}", ("datasets",))

    def export_folders(self) -> None:
        """Tell the jobs by the environment, not by a param, where files of others lie: that changes nothing that is made from them."""
        for variable, folder in (("EBMPIPE_DATA_DIR", self.raw_data), ("EBMPIPE_WEIGHTS_DIR", self.weights)):
            if folder:
                os.environ[variable] = str(Path(folder).absolute())
        for name, source in self._own.items():
            if source is not None:
                from ebmpipe.data.own import path_variable

                os.environ[path_variable(name)] = str(source.files["path"])

    def _own_data(self, config: Settings, catalogue: Settings) -> dict[str, type[OwnData] | None]:
        """The data sets of the user's own, by a look at their files; None where an optional one is not there.

        Raises:
            ConfigError: if no data set can be made of the files, or it is called as one of the package is.
        """
        for kind, given in config.get("defaults", {}).items():
            if "files" in given:
                raise ConfigError(f"defaults.{kind}: files belong to one data set: datasets.my_data.files", ("defaults", kind, "files"))
        found: dict[str, type[OwnData] | None] = {}
        for name, given in config["datasets"].items():
            if not given.get("files"):
                continue
            key: Key = ("datasets", name, "files")
            if name in catalogue["datasets"]:
                raise ConfigError(f"{dotted(key)}: {name} is a data set of the package; call your own by another id", key)
            from ebmpipe.data.own import UnusableFiles  # here, because it imports numpy, which planning does without
            from ebmpipe.data.own_files import own

            files = {**catalogue["defaults"]["files"], **given["files"]}
            if given.get("optional") and not Path(files["path"]).expanduser().exists():
                found[name] = None
                continue
            try:
                found[name] = own(name, files)
            except UnusableFiles as error:
                raise ConfigError(f"{dotted(key)}: {error}", key) from error
        return found

    def source(self, dataset: str) -> type[DataSet]:
        """The data set that is prepared under an id; its module is imported."""
        found: type[DataSet] = self._own.get(dataset) or registry.load("data", dataset)
        return found

    @property
    def own_datasets(self) -> list[str]:
        """The data sets of the user's own."""
        return [name for name in self.datasets if name in self._own]

    def own_settings(self, dataset: str) -> Settings:
        """How files of the user's own are read, but for where they lie."""
        source = self._own[dataset]
        assert source is not None, "it was left out"
        return {key: value for key, value in source.files.items() if key != "path"}

    def own_content(self, dataset: str) -> str:
        """The checksum of the files of the user's own; see `ebmpipe.data.own.content_of`."""
        from ebmpipe.data.own_files import content_of

        source = self._own[dataset]
        assert source is not None, "it was left out"
        return content_of(source, self.results / "data" / dataset)

    def _check_all(self) -> None:
        """Check every setting, also those that no run uses: of labels that run nowhere, of kinds of data that are not there."""
        for dataset, labels in self.labels.items():
            for label in labels:
                self.run_settings(Run(dataset, label, 0))
            self._check_cycles(dataset)
            self.watched(dataset)
            self.sampling_settings(dataset)
            self.evaluation_settings(dataset)
            self.long_run_settings(dataset)
        for kind in self.config.get("defaults", {}):
            self._length(kind, None)
            self._watched(kind, None)
            labels = self._labels_with_defaults(kind)
            if not self._of_kind(kind):
                for label in labels:
                    self._method_settings(kind, None, label)
                for stage in ("sampling", "long_run", "evaluation"):
                    self._stage(kind, None, stage)
                self._network(kind, None)
        for label in self.config["methods"]:
            if not any(label in labels for labels in self.labels.values()):
                self._method_settings(None, None, label)

    def _composition(self, name: str) -> Settings:
        """What a composition is made of and how, its seeds included.

        Raises:
            ConfigError: if one of its runs is none of this config's or not in the plane, they share no seed, or the weight is no share.
        """
        given, key = self.config["compositions"][name], ("compositions", name)
        parts = [f"{dataset}/{label}" for dataset, labels in self.labels.items() if self._kind(dataset) == "density" for label in labels]
        for index, part in enumerate(given["of"]):
            (dataset, label), place = part.split("/"), (*key, "of", index)
            if dataset in self.catalogue["datasets"] and dataset not in self.datasets:
                raise ConfigError(f"{dotted(place)}: {dataset!r} is none of the data sets of this config", place)
            if dataset in self.datasets and self._kind(dataset) != "density":
                raise ConfigError(f"{dotted(place)}: only densities in the plane are composed; {dataset} is {self._kind(dataset)}", place)
            if dataset in self.datasets and label in self.config["methods"] and label not in self.labels[dataset]:
                text = f"{dotted(place)}: {label!r} does not run on {dataset}, only {', '.join(self.labels[dataset])}"
                raise ConfigError(text, place)
            one_of(part, parts, (*key, "of"), place)
        if given["by"] == "mixture" and (given.get("weight") or 0) >= 1:
            text = f"{dotted((*key, 'weight'))}: in a mixture it is the share of the second law, below 1, not {given['weight']}"
            raise ConfigError(text, (*key, "weight"))
        first, second = (self.seeds[part.partition("/")[0]] for part in given["of"])
        seeds = [seed for seed in first if seed in second]
        if not seeds:
            raise ConfigError(f"{dotted(key)}: {' and '.join(given['of'])} have no seed in common", key)
        return {"of": given["of"], "by": given["by"], "weight": given.get("weight"), "seeds": seeds}

    def composition_revisions(self) -> dict[str, int]:
        """Revisions that the compose stage uses."""
        metrics, kernel = self.catalogue["metrics"], self.composition_sampling()["kernel"]["name"]
        of_metrics = {f"metric:{name}": metrics[name]["revision"] for name in self.catalogue["composition_metrics"]}
        return {
            "composing": self.catalogue["composing_revision"],
            f"sampler:{kernel}": self.catalogue["samplers"][kernel]["revision"],
            **of_metrics,
        }

    def composition_sampling(self) -> Settings:
        """How the chains of compositions are drawn."""
        settings: Settings = self.catalogue["defaults"]["composition_sampling"]
        return settings

    @property
    def notices(self) -> list[str]:
        """Which optional data sets are left out, and why."""
        absent = [f"{name} is left out: there are no files at the path that its `files` name" for name in self._absent]
        return absent + [f"{name} is left out: {why}" for name, why in self.left_out.items()]

    def _kind_defaults(self, dataset: str) -> Settings:
        """What the config says of all data sets of this one's kind."""
        defaults: Settings = self.config.get("defaults", {}).get(self._kind(dataset), {})
        return defaults

    def _missing(self, dataset: str) -> str | None:
        """Why a data set cannot be prepared here, None if its raw files are at hand or, unless it is optional, can be downloaded.

        One that is not among the config's, only named as what is out of distribution, is not optional.
        """
        entry = self.catalogue["datasets"][dataset]
        downloads = entry.get("downloads", False)
        if downloads and dataset not in self._optional:
            return None
        raw = Path(self.raw_data) if self.raw_data else None
        choices, where = entry["raw_choices"], (entry["raw_folders"], raw, entry["raw_endings"])
        if not choices or at_hand(choices, *where):
            return None
        file = (lacking(choices, *where) or choices[0])[0]
        advice = f"; `ebmpipe prepare --dataset {dataset}` downloads it" if downloads else ""
        return f"{file} is in none of {', '.join(map(str, folders(entry['raw_folders'], raw)))}{advice}"

    def _classifies(self, label: str, dataset: str) -> bool:
        """Whether a label trains a classifier on a data set, by what was said last; its settings are checked elsewhere."""
        entry, kind = self._method_entry(label), self._kind(dataset)
        said = [entry.get("defaults", {}), entry.get("settings_by_kind", {}).get(kind, {})]
        places: list[Key] = [
            ("defaults", kind, "settings", label), ("methods", label, "settings"), ("datasets", dataset, "settings", label)
        ]  # fmt: skip
        weights = [layer[CLASSIFIER] for layer in (*said, *map(self._said, places)) if CLASSIFIER in layer]
        return bool(weights) and weights[-1] is not None

    def _lacks_labels(self, label: str, dataset: str) -> str | None:
        """Why a label cannot run on a data set without class labels; None if it can."""
        if self.catalogue["datasets"][dataset]["classes"] is not None or not self._classifies(label, dataset):
            return None
        return f"{label!r} trains a classifier ({CLASSIFIER} is set), and {dataset} has no labels of classes"

    def _labels(self, dataset: str) -> list[str]:
        """The rows of one data set: those it names, or all whose method takes its kind of data, and its lack of class labels."""
        kind, fitting = self._kind(dataset), [label for label in self.config["methods"] if self._takes(label, self._kind(dataset))]
        place: Key = ("datasets", dataset) if "labels" in self.config["datasets"][dataset] else ("defaults", kind)
        named: list[str] | None = self.datasets[dataset].get("labels")
        for index, label in enumerate(named or ()):
            one_of(label, self.config["methods"], (*place, "labels"), (*place, "labels", index))
            if label not in fitting:
                takes = ", ".join(self._method_entry(label)["kinds"])
                text = f"{dotted(place)}.labels: {label!r} is {self.method_of(label)}, which takes {takes}; {dataset} is {kind}"
                raise ConfigError(text, (*place, "labels", index))
            if lack := self._lacks_labels(label, dataset):
                raise ConfigError(f"{dotted(place)}.labels: {lack}", (*place, "labels", index))
        labels = [label for label in fitting if not self._lacks_labels(label, dataset)] if named is None else list(named)
        if not labels:
            lacks = "; ".join(lack for label in fitting if (lack := self._lacks_labels(label, dataset)))
            why = lacks or f"{', '.join(self.config['methods'])} do not take {kind}"
            text = f"datasets.{dataset}: none of the labels can run on it: {why}"
            raise ConfigError(text, ("datasets", dataset))
        key: Key = ("datasets", dataset, "settings")
        for label in self.config["datasets"][dataset].get("settings", {}):
            one_of(label, self.config["methods"], key, (*key, label))
            if label not in labels:
                why = self._lacks_labels(label, dataset) or f"{label!r} does not run on {dataset}, only {', '.join(labels)}"
                raise ConfigError(f"{dotted(key)}: {why}", (*key, label))
        return labels

    def _labels_with_defaults(self, kind: str) -> list[str]:
        """The labels that ``defaults`` has settings of for one kind of data; each must run on one of the config's data sets of it."""
        key: Key = ("defaults", kind, "settings")
        names, labels = self._of_kind(kind), list(self.config["defaults"][kind].get("settings", {}))
        for label in labels:
            one_of(label, self.config["methods"], key, (*key, label))
            if not self._takes(label, kind):
                takes = ", ".join(self._method_entry(label)["kinds"])
                raise ConfigError(f"{dotted(key)}: {label!r} takes {takes}, not {kind}", (*key, label))
            if names and not any(label in self.labels[name] for name in names):
                raise ConfigError(f"{dotted(key)}: {label!r} runs on no data set of this kind ({', '.join(names)})", (*key, label))
        return labels

    def watched(self, dataset: str) -> bool:
        """Whether the likelihood of the runs on a data set is written down while they are trained."""
        return self._watched(self._kind(dataset), dataset)

    @property
    def published(self) -> list[str]:
        """The data sets on which others have published what is measured here; a likelihood of weights in training only where it is."""
        known = self.catalogue["published"]
        return [
            dataset for dataset in self.datasets if set(known.get(dataset, ())) - (set() if self.watched(dataset) else {"log_likelihood"})
        ]

    @property
    def runs(self) -> list[Run]:
        """Every run of the comparison."""
        return [Run(d, label, seed) for d, labels in self.labels.items() for label in labels for seed in self.seeds[d]]

    def required(self, run: Run) -> dict[str, Run]:
        """The runs that ``run`` builds on, by role.

        Raises:
            ConfigError: if a role is missing or unknown, or its label is not among the data set's.
        """
        given = self.config["methods"][run.label].get("requires", {})
        key: Key = ("methods", run.label, "requires")
        roles = self._method_entry(run.label).get("requires", list(given))
        for role in given:
            one_of(role, roles, key, (*key, role))
        for role in roles:
            if role not in given:
                text = f"{dotted(key)}: {self.method_of(run.label)} needs the label of its {role}, as in `requires: {{{role}: ...}}`"
                raise ConfigError(text, ("methods", run.label))
        for role, label in given.items():
            one_of(label, self.config["methods"], (*key, role))
            if label not in self.labels[run.dataset]:
                takes = self._method_entry(label).get("kinds", [])
                kind = self._kind(run.dataset)
                why = f"its method takes {', '.join(takes)}" if takes and kind not in takes else f"datasets.{run.dataset}.labels lacks it"
                why = self._lacks_labels(label, run.dataset) or why
                raise ConfigError(f"{dotted((*key, role))}: {label!r} does not run on {run.dataset}: {why}", (*key, role))
        return {role: Run(run.dataset, label, run.seed) for role, label in given.items()}

    def _check_cycles(self, dataset: str) -> None:
        """Refuse labels that build on each other in a circle."""
        finished: set[str] = set()

        def follow(label: str, above: tuple[str, ...]) -> None:
            if label in above:
                circle = " → ".join((*above[above.index(label) :], label))
                raise ConfigError(f"methods.{label}.requires: it builds on itself: {circle}", ("methods", label, "requires"))
            if label not in finished:
                for other in self.required(Run(dataset, label, 0)).values():
                    follow(other.label, (*above, label))
                finished.add(label)

        for label in self.labels[dataset]:
            follow(label, ())

    def run_settings(self, run: Run) -> Settings:
        """What config.json of a run will hold: every setting with its default filled in, and the revisions it uses."""
        kind = self._kind(run.dataset)
        settings, of_method = self._method_settings(kind, run.dataset, run.label)
        network, of_network = self._network(kind, run.dataset)
        revisions = {
            "training": self.catalogue["training_revision"],
            f"data:{run.dataset}": self.catalogue["datasets"][run.dataset]["revision"],
        }
        return {
            "dataset": run.dataset,
            "label": run.label,
            "method": self.method_of(run.label),
            "seed": run.seed,
            "network": network,
            "settings": settings,
            **self._length(kind, run.dataset),
            "watch": self.watched(run.dataset),
            "requires": {role: other.label for role, other in self.required(run).items()},
            "revisions": revisions | of_method | of_network,
        }

    def _stage(self, kind: str, dataset: str | None, stage: str) -> Settings:
        """The settings of a stage on a data set, or on any of a kind, with every default."""
        layered = Layered().lay(self.catalogue["defaults"].get(stage))
        for start in self._starts(kind, dataset):
            layered.lay(start.get(stage))
        for place in self._places(kind, dataset):
            self._check_layer((*place, stage), self.catalogue["schemas"][stage])
            self._check_member_layer("samplers", "kernel", (*place, stage), layered)
            layered.lay(self._said((*place, stage)), (*place, stage))
        settings = layered.value
        if stage == "sampling":
            settings, _ = self._kernel(settings, layered.at, kind)
        if stage == "long_run":
            for index, label in enumerate(settings["labels"] or ()):
                one_of(label, self.config["methods"], layered.at(("labels",)), (*layered.at(("labels",)), index))
            settings = settings | {key: self._kernels(settings[key], layered.at((key,))) for key in ("kernels", "latent_kernels")}
        for members in ("metrics", "features"):
            for index, name in enumerate(settings.get(members) or ()):
                key = layered.at((members,))
                one_of(name, self.catalogue[members], key, (*key, index))
        if stage == "evaluation" and dataset is not None:
            settings = settings | {"features": self._features(dataset, settings["features"], layered.at(("features",)))}
            named = settings["out_of_distribution"]
            settings = settings | {OUT_OF_DISTRIBUTION: self._foreign(dataset, named, layered.at((OUT_OF_DISTRIBUTION,)))}
        return settings

    def sampling_settings(self, dataset: str) -> Settings:
        """How fresh samples are drawn on a data set."""
        return self._stage(self._kind(dataset), dataset, "sampling")

    def sampling_revisions(self, dataset: str) -> dict[str, int]:
        """Revisions that the sample stage uses."""
        kernel = self.sampling_settings(dataset)["kernel"]["name"]
        return {"sampling": self.catalogue["sampling_revision"], f"sampler:{kernel}": self.catalogue["samplers"][kernel]["revision"]}

    def long_run_settings(self, dataset: str) -> Settings:
        """How chains are run for long on a data set, and which feature network tells classes apart there: of every label alike.

        Raises:
            ConfigError: if one that is named tells none apart, or is none of the data set's.
        """
        settings = self._stage(self._kind(dataset), dataset, "long_run") | {"labels": None}
        known, features = self.catalogue["features"], self.features(dataset)
        if settings["classifier"] is None:
            return settings | {"classifier": classifier(known, features)}
        places: list[Key] = [(*place, "long_run") for place in self._places(self._kind(dataset), dataset)]
        key = (*next((place for place in reversed(places) if "classifier" in self._said(place)), places[-1]), "classifier")
        one_of(settings["classifier"], [name for name in features if known[name]["classifies"]], key)
        return settings

    def long_run_revisions(self, dataset: str) -> dict[str, int]:
        """Revisions that the long-run stage uses."""
        settings = self.long_run_settings(dataset)
        names = [kernel["name"] for kernel in (*settings["kernels"], *settings["latent_kernels"])]
        return {"long_run": self.catalogue["long_run_revision"]} | {
            f"sampler:{name}": self.catalogue["samplers"][name]["revision"] for name in names
        }

    def runs_long(self, dataset: str, label: str | None = None) -> bool:
        """Whether runs of a label, or of any if none is given, have long runs on a data set: where something that is measured there is of
        long runs, but for labels that the config leaves out, and binary data, to whose chains no step size adapts."""
        if self._kind(dataset) == "binary":
            return False
        named = self._stage(self._kind(dataset), dataset, "long_run")["labels"]
        if named is not None and (label not in named if label is not None else not set(named) & set(self.labels[dataset])):
            return False
        chosen = self.evaluation_settings(dataset)["metrics"]
        return chosen is None or any(name in chosen for name in OF_LONG_RUNS)

    def evaluation_settings(self, dataset: str) -> Settings:
        """What is measured on a data set."""
        return self._stage(self._kind(dataset), dataset, "evaluation")

    def _features(self, dataset: str, named: list[str] | None, key: Key) -> list[str]:
        """The feature networks that a data set is measured in: those that the config names at ``key``, or those that serve by default.

        Raises:
            ConfigError: if one that is named does not take these data or cannot be had here.
        """
        entry, known = self.catalogue["datasets"][dataset], self.catalogue["features"]
        if named is None:
            return by_default(known, entry["kind"], entry["classes"], self._unavailable)
        fitting = applying(known, entry["kind"], entry["classes"])
        for index, name in enumerate(named):
            if name not in fitting:
                which = f"{labelling(entry['classes'])} images" if entry["kind"] == "images" else entry["kind"]
                text = f"{dotted(key)}: {name!r} takes {' or '.join(known[name]['takes'])} images; {dataset} is {which}"
                raise ConfigError(text, (*key, index))
            if known[name]["published"] and (reason := self._unavailable(name)) is not None:
                raise ConfigError(f"{dotted(key)}: {name!r} is not available: {reason}", (*key, index))
        return named

    def _foreign(self, dataset: str, named: list[str] | None, key: Key) -> list[str]:
        """What a data set's energies are to tell from it: the sets that the config names at ``key``, or those that serve by default.

        Raises:
            ConfigError: if one that is named is of another kind of data, or cannot be had here.
        """
        known, kind = self.catalogue["datasets"], self._kind(dataset)
        if named is None:
            return foreign.by_default(known, dataset, kind, [name for name in self.config["datasets"] if self._missing(name) is None])
        fitting = foreign.applying(known, dataset, kind)
        for index, name in enumerate(named):
            if name in known and name not in fitting:
                why = "is the data set itself" if name == dataset else f"is {known[name]['kind']}, and {dataset} {kind}"
                raise ConfigError(f"{dotted(key)}: {name!r} {why}; choose from {', '.join(fitting)}", (*key, index))
            one_of(name, fitting, key, (*key, index))
            if foreign.needs_preparing(known, name) and (missing := self._missing(name)) is not None:
                raise ConfigError(f"{dotted(key)}: {name!r} cannot be had: {missing}", (*key, index))
        return named

    def _unavailable(self, features: str) -> str | None:
        """Why a published feature network cannot be had here, None if it can; its module, unlike those of others, loads without torch."""
        folder = Path(self.weights) if self.weights else None
        reason: str | None = registry.load("features", features).unavailable_reason(folder)
        return reason

    def evaluation_revisions(self, dataset: str) -> dict[str, int]:
        """Revisions that the evaluate stage uses."""
        known = self.catalogue["metrics"]
        chosen = self.evaluation_settings(dataset)["metrics"] or known
        revisions = {"evaluation": self.catalogue["evaluation_revision"]} | {f"metric:{name}": known[name]["revision"] for name in chosen}
        if ANNEALING in chosen:
            kernel = self.evaluation_settings(dataset)["partition"]["kernel"]
            revisions |= {
                "partition": self.catalogue["partition_revision"],
                f"sampler:{kernel}": self.catalogue["samplers"][kernel]["revision"],
            }
        if OUT_OF_DISTRIBUTION in chosen:
            revisions["foreign"] = self.catalogue["foreign_revision"]
            sets, prepared = self.evaluation_settings(dataset)[OUT_OF_DISTRIBUTION], self.foreign(dataset)
            drawn = [name for name in sets if name in self.catalogue["datasets"] and name not in prepared]
            revisions |= {f"data:{name}": self.catalogue["datasets"][name]["revision"] for name in drawn}
        if RESTORING & set(chosen):
            kernel = self.evaluation_settings(dataset)["restoration"]["kernel"]
            revisions |= {
                "restoration": self.catalogue["restoration_revision"],
                f"sampler:{kernel}": self.catalogue["samplers"][kernel]["revision"],
            }
        return revisions

    def foreign(self, dataset: str) -> list[str]:
        """The other data sets that must be prepared before a data set's runs are evaluated."""
        settings = self.evaluation_settings(dataset)
        if OUT_OF_DISTRIBUTION not in (settings["metrics"] or self.catalogue["metrics"]):
            return []
        return [name for name in settings[OUT_OF_DISTRIBUTION] if foreign.needs_preparing(self.catalogue["datasets"], name)]

    def base_noise(self, dataset: str) -> float | None:
        """Noise on the data that a flow is fitted to, where annealing may begin at one; None where it does not."""
        settings = self.evaluation_settings(dataset)
        partition, chosen = settings["partition"], settings["metrics"] or self.catalogue["metrics"]
        return float(partition["base_noise"]) if partition["base"] != "own" and ANNEALING in chosen else None

    def features(self, dataset: str) -> list[str]:
        """The feature networks that the images of a data set are compared in; none for other data."""
        chosen: list[str] = self.evaluation_settings(dataset)["features"]
        return chosen

    def figures(self, dataset: str) -> list[str]:
        """The figures of one data set: those of its kind, some of which need a label with something that others lack, or watched runs."""
        labels = self.labels[dataset]
        there = {"classifier": any(self._classifies(label, dataset) for label in labels), "watch": self.watched(dataset)}
        # A class of one's own is imported where it trains, not here.
        for need, key in (("latent", "latent_space"), ("generator", "generates"), ("revision", "revises")):
            there[need] = any(self._method_entry(label).get(key) for label in labels)
        of_kind = {name: entry for name, entry in self.catalogue["figures"].items() if self._kind(dataset) in entry["kinds"]}
        return [name for name, entry in of_kind.items() if there.get(entry.get("needs"), True)]

    def overview_figures(self) -> list[str]:
        """The figures that span all data sets: that of compositions where there are some."""
        overview = {name: entry for name, entry in self.catalogue["figures"].items() if not entry["kinds"]}
        return [name for name, entry in overview.items() if self.compositions or entry.get("needs") != "compositions"]

    def table(self) -> dict[str, dict[str, list[int]]]:
        """The comparison as {dataset: {label: [seeds]}}."""
        return {name: dict.fromkeys(self.labels[name], self.seeds[name]) for name in self.datasets}
