"""Settings laid over each other, and which layer each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ebmpipe.checking import Key

Settings = dict[str, Any]


@dataclass
class Layered:
    """Nested dictionaries laid over each other; later ones win, a layer that is None is absent.

    Settings of one member mean nothing to another: a kernel or network of another name replaces the earlier one whole.

    Attributes:
        value: what results.
    """

    value: Settings = field(default_factory=dict)
    _origins: dict[Key, Key] = field(default_factory=dict)
    _last: Key = ()

    def lay(self, layer: Mapping[str, Any] | None, place: Key = ()) -> Layered:
        """Put one more layer, which stands at ``place`` in the config, on top."""
        if layer:
            self._last = place
            self.value = self._over(self.value, layer, (), place)
        return self

    def at(self, key: Key) -> Key:
        """Where in the config the setting ``key`` came from; for one that is not there, where what holds it was last changed."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._origins:
                return self._origins[key[:length]] + key
        return self._last + key

    def _over(self, below: Mapping[str, Any], above: Mapping[str, Any], key: Key, place: Key) -> Settings:
        result = dict(below)
        for name, new in above.items():
            here, old = (*key, name), result.get(name)
            if isinstance(new, Mapping) and isinstance(old, Mapping) and new.get("name", old.get("name")) == old.get("name"):
                self._origins[here] = place
                result[name] = self._over(old, new, here, place)
            else:
                self._origins = {k: v for k, v in self._origins.items() if k[: len(here)] != here}
                self._mark(new, here, place)
                result[name] = new
        return result

    def _mark(self, value: Any, key: Key, place: Key) -> None:
        self._origins[key] = place
        if isinstance(value, Mapping):
            for name, item in value.items():
                self._mark(item, (*key, name), place)


def merged(*layers: Mapping[str, Any] | None) -> Settings:
    """What `Layered` makes of layers whose origin does not matter."""
    result = Layered()
    for layer in layers:
        result.lay(layer)
    return result.value
