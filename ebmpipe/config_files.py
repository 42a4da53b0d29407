"""Config files read strictly: what YAML would pass over in silence is refused, and the line of every key is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ebmpipe.checking import ConfigError, Key

#: No config is nested deeper; a file that is, is none.
DEEPEST = 40


@dataclass(frozen=True)
class ConfigFile:
    """One config file.

    Attributes:
        name: its path, as messages show it.
        content: what it says.
        lines: the line on which each key stands, counted from 1.
    """

    name: str
    content: dict[str, Any]
    lines: Mapping[Key, int]


class UnreadableConfig(ConfigError):
    """A config file that is missing or is not the YAML of a mapping; the text names the file and, where there is one, the line."""


def below(node: yaml.Node, name: str, key: Key = (), above: tuple[int, ...] = ()) -> Iterator[tuple[Key, int]]:
    """Every key with its line.

    Raises:
        UnreadableConfig: if a key is given twice, or an alias refers to what holds it.
    """
    if id(node) in above or len(above) > DEEPEST:
        raise UnreadableConfig(f"{name}, line {node.start_mark.line + 1}: nested without end")
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UnreadableConfig(f"{name}, line {line}: a key must be text")
            if key_node.value in seen:
                where = ".".join(map(str, (*key, key_node.value)))
                raise UnreadableConfig(f"{name}, lines {seen[key_node.value]} and {line}: {where} is given twice")
            seen[key_node.value] = line
            here = (*key, key_node.value)
            yield here, line
            yield from below(value_node, name, here, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            here = (*key, index)
            yield here, item.start_mark.line + 1
            yield from below(item, name, here, above)


def parse(text: str, name: str) -> ConfigFile:
    """The config in ``text``, which came from the file ``name``.

    Raises:
        UnreadableConfig: saying what is wrong and where.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise UnreadableConfig(f"{name} is empty; config/README.md explains what a config says")
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            raise UnreadableConfig(f"{name} holds {kind}, not keys with values, such as `seeds: [0, 1]`")
        lines = dict(below(node, name))
        return ConfigFile(name, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        context = f" ({error.context})" if error.context else ""
        raise UnreadableConfig(f"{name}{where}: not valid YAML: {error.problem}{context}") from None
    except yaml.YAMLError as error:
        raise UnreadableConfig(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:
        # Raised by what makes values of scalars: a date such as 2026-13-45.
        if isinstance(error, ConfigError):
            raise
        raise UnreadableConfig(f"{name} is not valid YAML: {error}") from None


def read_config(path: Path) -> ConfigFile:
    """The config in a file.

    Raises:
        UnreadableConfig: if there is no such file, or it is not text, not YAML, empty, no mapping, or says a key twice.
    """
    name = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    try:
        return parse(path.read_bytes().decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        raise UnreadableConfig(f"{name} is not a text file in UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from None
    except FileNotFoundError:
        raise UnreadableConfig(f"{name}: there is no such file") from None
    except OSError as error:
        raise UnreadableConfig(f"{name} cannot be read: {error.strerror}") from None


def keys_of(value: Any, key: Key = ()) -> Iterator[Key]:
    """Every key of nested mappings."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield (*key, name)
            yield from keys_of(item, (*key, name))


def located(error: ConfigError, files: Sequence[ConfigFile], overrides: Mapping[str, Any] | None = None) -> str:
    """The error's text after the place that it speaks of: the file that has the last word on its key, with the line, or the command line.

    Args:
        error: what is wrong.
        files: the config's files, later ones laid over earlier ones.
        overrides: what the command line lays over them (``--config``).
    """
    if isinstance(error, UnreadableConfig):
        return str(error)
    given = set(keys_of(overrides or {}))
    for length in range(len(error.key), 0, -1):
        key = error.key[:length]
        if key in given:
            return f"The command line (--config): {error}"
        for file in reversed(files):
            if key in file.lines:
                return f"{file.name}, line {file.lines[key]}: {error}"
    return f"{', '.join([*(file.name for file in files), *(['the command line (--config)'] if given else [])])}: {error}"
