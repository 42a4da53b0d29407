"""How the layers of a config become complete settings of members: checked one by one, each over the ones before."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ebmpipe.budget import LENGTHS
from ebmpipe.checking import ConfigError, Key, check, dotted, one_of
from ebmpipe.layers import Layered, Settings, merged

#: The keys that name a network or a flow: members of the catalogue, and what their revisions go by.
#: The keys of a method's settings that name a Markov kernel; the second is of latent vectors.
KERNELS = ("kernel", "posterior_kernel", "refresh_kernel")
MEMBERS = {"network": ("networks", "network"), "architecture": ("flows", "flow")}
#: Keys whose values are mappings, below a label or a data set.
SECTIONS = ("settings", "requires", "sampling", "long_run", "evaluation")


def may_be_bare(key: Key) -> bool:
    """Whether nothing need be written after ``key``: a label, a data set, a kind of data or a section, which are then empty."""
    group = key[0] in ("methods", "defaults", "datasets")
    match len(key):
        case 1:
            return key[0] == "defaults"
        case 2:
            return group
        case 3:
            return group and key[2] in SECTIONS
    return len(key) == 4 and key[0] in ("defaults", "datasets") and key[2] == "settings"


def filled(value: Any, key: Key = ()) -> Any:
    """A config with an empty mapping wherever nothing stands and nothing need stand."""
    if not isinstance(value, Mapping):
        return value
    below = {name: ((*key, name), item) for name, item in value.items()}
    return {name: filled({} if item is None and may_be_bare(here) else item, here) for name, (here, item) in below.items()}


def imported(name: str, key: Key) -> dict[str, int]:
    """Check that the module of ``module:Class`` can be found, without importing it; returns what stands for its revision.

    That is a number made from its source: nobody bumps the revisions of code that the catalogue does not know.

    Raises:
        ConfigError: if it cannot.
    """
    module = name.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        text = f"{dotted(key)}: there is no module {module!r} to import {name!r} from; install it or add its folder to PYTHONPATH"
        raise ConfigError(text, key)
    source = Path(found.origin).read_bytes() if found.origin and Path(found.origin).is_file() else b""
    return {f"source:{module}": int(hashlib.sha256(source).hexdigest()[:8], 16)}


class Resolver:
    """A config against the catalogue: what it says of methods, kernels, networks and flows, with every default filled in.

    Args:
        config: the content of config.yaml, `filled`.
        catalogue: the content of catalogue.json, with an entry for each of the user's own data sets.
    """

    def __init__(self, config: Settings, catalogue: Settings) -> None:
        self.config, self.catalogue = config, catalogue
        self._checked: set[Key] = set()

    def _kind(self, dataset: str) -> str:
        return str(self.catalogue["datasets"][dataset]["kind"])

    def _of_kind(self, kind: str) -> list[str]:
        """The config's data sets of one kind."""
        return [name for name in self.config["datasets"] if self._kind(name) == kind]

    def method_of(self, label: str) -> str:
        """The method id behind a label."""
        given = self.config["methods"][label].get("method")
        if given and ":" in given:
            return str(given)
        key: Key = ("methods", label, "method") if given else ("methods", label)
        return one_of(given or label, self.catalogue["methods"], key)

    def _method_entry(self, label: str) -> Settings:
        entry: Settings = self.catalogue["methods"].get(self.method_of(label), {})
        return entry

    def _takes(self, label: str, kind: str) -> bool:
        return kind in self._method_entry(label).get("kinds", [kind])

    def _kernel(
        self, settings: Settings, at: Callable[[Key], Key], kind: str | None = None, role: str = "kernel"
    ) -> tuple[Settings, dict[str, int]]:
        """``settings`` with those of the kernel that ``role`` names complete, and the kernel's revision.

        Raises:
            ConfigError: if there is no such kernel, it does not move on ``kind`` of data, or its settings are wrong.
        """
        kernel = {"settings": self.catalogue["defaults"]["kernel"]["settings"]} | settings[role]
        known, name = self.catalogue["samplers"], kernel["name"]
        entry = known[one_of(name, known, at((role, "name")))]
        if kind is not None and kind not in entry["kinds"]:
            raise ConfigError(f"{dotted(at((role,)))}: {name!r} takes {', '.join(entry['kinds'])}, not {kind}", at((role, "name")))
        check(kernel["settings"], entry["schema"], lambda key: at((role, "settings", *key)))
        return settings | {role: kernel}, {f"sampler:{name}": entry["revision"]}

    def _kernels(self, given: list[Settings], key: Key) -> list[Settings]:
        """Several kernels, which stand at ``key``, each checked and complete."""
        for index, kernel in enumerate(given):
            if "name" not in kernel:
                raise ConfigError(f"{dotted(key)}: each kernel needs its name", (*key, index))
            if kernel["name"] in [other["name"] for other in given[:index]]:
                text = f"{dotted(key)}: {kernel['name']!r} is named twice; the metrics of a kernel go by its name"
                raise ConfigError(text, (*key, index, "name"))

        def at(index: int) -> Callable[[Key], Key]:
            return lambda inner: (*key, index, *inner[1:])

        return [self._kernel({"kernel": kernel}, at(index))[0]["kernel"] for index, kernel in enumerate(given)]

    def _member(
        self, role: str, given: Settings, at: Callable[[Key], Key], kind: str | None, dataset: str | None
    ) -> tuple[Settings, dict[str, int]]:
        """A network or a flow that is ``given`` with every setting, and its revision.

        Args:
            role: the key that names it, ``network`` or ``architecture``.
            given: its name and what is said of its settings.
            at: where in the config a key of it stands.
            kind: of the data that it has to take, if that is known.
            dataset: these data, if they are one set.

        Raises:
            ConfigError: if there is no such member, it does not take ``kind`` of data, or its settings are wrong.
        """
        members, what = MEMBERS[role]
        name, known, key = given["name"], self.catalogue[members], at((role, "name"))
        if ":" in name:
            return given, imported(name, key)
        entry: Settings = known[one_of(name, known, key)]
        if kind is not None and kind not in entry["kinds"]:
            raise ConfigError(f"{dotted(key)}: {name!r} takes {', '.join(entry['kinds'])}; {dataset or 'this'} is {kind}", key)
        check(given.get("settings", {}), entry["schema"], lambda inner: at((role, "settings", *inner)))
        return given | {"settings": merged(entry["defaults"], given.get("settings"))}, {f"{what}:{name}": entry["revision"]}

    def _network(self, kind: str, dataset: str | None) -> tuple[Settings, dict[str, int]]:
        """The energy network of a data set, or of a kind of data, with every setting, and its revision."""
        layered = Layered()
        for start in self._starts(kind, dataset):
            layered.lay({"network": start["network"]} if "network" in start else None)
        for place in self._places(kind, dataset):
            given = self._said(place).get("network")
            # null is the network of the kind of data: what a layer below says of it, if anything.
            self._check_member_layer("networks", "network", place, layered)
            layered.lay({"network": given} if given else None, place)
        return self._member("network", layered.value["network"], layered.at, kind, dataset)

    def _check_member_layer(self, members: str, role: str, key: Key, below: Layered) -> None:
        """Check what one layer says of its kernel, network or flow; by itself, as what is laid over it may hide a mistake.

        Args:
            members: ``samplers``, ``networks`` or ``flows`` of the catalogue.
            role: ``kernel``, ``network`` or ``architecture``, the key that names the member.
            key: where the layer stands.
            below: what is laid below it, which may say of which member the settings are.
        """
        given = self._said(key).get(role) or {}
        known = self.catalogue[members]
        own = given.get("name")
        if own is not None and ":" not in own:
            one_of(own, known, (*key, role, "name"))
        entry = known.get(own or (below.value.get(role) or {}).get("name"))
        if entry is not None:
            # What this layer need not say, another may.
            check(given.get("settings", {}), {**entry["schema"], "required": []}, lambda inner: (*key, role, "settings", *inner))

    def _starts(self, kind: str, dataset: str | None) -> list[Settings]:
        """What the package says of a kind of data and of a data set; the config is laid over it."""
        own = [self.catalogue["datasets"][dataset]["starting_point"]] if dataset else []
        return [self.catalogue["defaults"]["kinds"][kind], *own]

    def _places(self, kind: str | None, dataset: str | None) -> list[Key]:
        """Where the config speaks of a data set: of its kind, and of itself."""
        return [*([("defaults", kind)] if kind else []), *([("datasets", dataset)] if dataset else [])]

    def _said(self, place: Key) -> Settings:
        """What the config says at a place; nothing where it is silent."""
        found: Any = self.config
        for name in place:
            found = found.get(name, {})
        said: Settings = found
        return said

    def _length(self, kind: str, dataset: str | None) -> Settings:
        """How long every method trains on a data set, or on any of a kind: one of `LENGTHS`, the others being None.

        Raises:
            ConfigError: if one place of the config says more than one.
        """
        found: Settings = dict.fromkeys(LENGTHS) | {
            "gradient_evaluations": self.catalogue["defaults"]["kinds"][kind]["gradient_evaluations"]
        }
        for place in self._places(kind, dataset):
            said = {key: value for key in found if (value := self._said(place).get(key)) is not None}
            if len(said) > 1:
                both = " and ".join(f"{key}: {value}" for key, value in said.items())
                text = f"{dotted(place)}: {both} each say how long to train; give one of them"
                raise ConfigError(text, (*place, list(said)[-1]))
            if said:
                found = dict.fromkeys(found) | said
        return found

    def _watched(self, kind: str, dataset: str | None) -> bool:
        """Whether the likelihood of runs on a data set, or on any of a kind, is written down while they are trained.

        Raises:
            ConfigError: if it is asked for where it cannot be integrated.
        """
        watched = False
        for place in self._places(kind, dataset):
            watched = self._said(place).get("watch", watched)
            if watched and kind != "density":
                key = (*place, "watch")
                raise ConfigError(f"{dotted(key)}: likelihoods are only integrated in the plane, on density; this is {kind}", key)
        return watched

    def _check_layer(self, place: Key, schema: Settings) -> None:
        """Check what the config says at one place; by itself, as what is laid over it may hide a mistake."""
        if place not in self._checked:
            check(self._said(place), schema, lambda key: place + key)
            self._checked.add(place)

    def _method_settings(self, kind: str | None, dataset: str | None, label: str) -> tuple[Settings, dict[str, int]]:
        """A label's settings on a data set, or on any of a kind, or anywhere, with every default, and the revisions that they use."""
        entry = self._method_entry(label)
        places: list[Key] = [("methods", label, "settings")]
        if kind:
            places.insert(0, ("defaults", kind, "settings", label))
        if dataset:
            places.append(("datasets", dataset, "settings", label))
        layered = Layered().lay(entry.get("defaults")).lay(entry.get("settings_by_kind", {}).get(kind))
        for place in places:
            if entry:
                self._check_layer(place, entry["schema"])
                for role in KERNELS:
                    self._check_member_layer("samplers", role, place, layered)
                for role, (members, _) in MEMBERS.items():
                    self._check_member_layer(members, role, place, layered)
            layered.lay(self._said(place), place)
        if not entry:
            return layered.value, imported(self.method_of(label), ("methods", label, "method"))
        settings, revisions = layered.value, {f"method:{self.method_of(label)}": entry["revision"]}
        for role in KERNELS:
            if settings.get(role):
                settings, of_kernel = self._kernel(settings, layered.at, "vectors" if role == "posterior_kernel" else kind, role)
                revisions |= of_kernel
        for role in MEMBERS:
            if settings.get(role):
                member, of_member = self._member(role, settings[role], layered.at, kind, dataset)
                settings, revisions = settings | {role: member}, revisions | of_member
        return settings, revisions
