"""What a wrong setting is told: the key, what is wrong, the valid choices and the nearest one. Free of torch and of pydantic models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

if TYPE_CHECKING:
    import pydantic

#: Where something stands in a config: the keys and list positions that lead to it.
Key = tuple[str | int, ...]

#: Integers beyond this fit into no array.
LARGEST = 2**63 - 1


class ConfigError(ValueError):
    """A config that cannot be run; the text names the key and the valid choices.

    Attributes:
        key: where in the config the offending setting stands, so that its file and line can be found.
    """

    def __init__(self, text: str, key: Key = ()) -> None:
        super().__init__(text)
        self.key = key


def dotted(key: Key) -> str:
    """A key as messages write it."""
    return ".".join(map(str, key)) or "top level"


def suggestion(name: str, choices: Iterable[str]) -> str:
    """`` Did you mean …?`` where one of the choices is near, and all of them."""
    choices = sorted(choices)
    near = get_close_matches(name, choices, n=1)
    return (f" Did you mean {near[0]!r}?" if near else "") + (
        f" Valid: {', '.join(choices)}" if choices else " There is none to choose from."
    )


def one_of(name: str, choices: Iterable[str], key: Key, place: Key | None = None) -> str:
    """``name`` if it is one of ``choices``.

    Args:
        name: what the config says.
        choices: what it may say.
        key: the key that messages name.
        place: where the name itself stands, if that is not ``key``.

    Raises:
        ConfigError: naming the key, the choices and the nearest one.
    """
    choices = list(choices)
    if name not in choices:
        raise ConfigError(f"{dotted(key)}: {name!r} is unknown.{suggestion(name, choices)}", key if place is None else place)
    return name


def shown(value: Any) -> str:
    """A value as a message shows it."""
    names: dict[type, str] = {str: "text", bool: "", int: "", float: "", dict: "a mapping", list: "a list"}
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "…"
    return f"{names.get(type(value), type(value).__name__)} {text}".strip()


def plain(value: Any, key: Key = (), above: tuple[int, ...] = ()) -> None:
    """Check that a config consists of what JSON and the command line can carry: mappings with text keys, lists, text, finite numbers.

    Raises:
        ConfigError: naming the first key or value that is something else.
    """
    if isinstance(value, Mapping | list):
        if id(value) in above:
            raise ConfigError(f"{dotted(key)}: refers to itself", key)
        above = (*above, id(value))
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                why = "; YAML reads on, off, yes and no as true and false" if isinstance(name, bool) else ""
                raise ConfigError(f"{dotted(key)}: the key {shown(name)} is not text; write it in quotes{why}", key)
            if name != name.strip():
                raise ConfigError(f"{dotted(key)}: the key {name!r} has blanks around it", (*key, name))
            plain(item, (*key, name), above)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            plain(item, (*key, index), above)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{dotted(key)}: {value} is no finite number", key)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ConfigError(f"{dotted(key)}: an integer of {value.bit_length()} bits is too large", key)
    elif value is not None and not isinstance(value, str | int | float):
        raise ConfigError(f"{dotted(key)}: {shown(value)} is neither text nor a number; write it in quotes if it is text", key)


# JSON schema takes 3.0 for an integer and pydantic turns it into one, but a seed 3.0 would be another folder than a seed 3.
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)

TYPES = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing (null)",
}


def wrong_type(value: Any, types: Iterable[str]) -> str:
    """What a value of the wrong type is told, with the spelling that was perhaps meant."""
    types = list(types)
    hint = ""
    if isinstance(value, str) and {"number", "integer"} & set(types):
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            if math.isfinite(number) and number.is_integer() and "integer" in types:
                hint = f"; write {int(number)}"
            elif "e" not in value.lower():
                hint = f"; write {value} without quotes"
            elif math.isfinite(number):
                mantissa, _, exponent = f"{number:.6e}".partition("e")
                digits = mantissa.rstrip("0")
                hint = f"; write {digits + '0' if digits.endswith('.') else digits}e{int(exponent):+d}"
    elif isinstance(value, float) and value.is_integer() and "integer" in types:
        hint = f"; write {int(value)}"
    elif "array" in types and not isinstance(value, Mapping) and value is not None:
        hint = f"; write [{value}]"
    return f"expected {' or '.join(TYPES[name] for name in types)}, got {shown(value)}{hint}"


def branch(error: ValidationError) -> ValidationError:
    """The error that matters of a value that fits none of several schemas: that of the alternative which came furthest."""
    if error.validator != "anyOf" or not error.context:
        return error
    deepest = max(error.context, key=lambda one: (len(one.absolute_path), one.validator != "type"))
    return branch(deepest) if deepest.validator != "type" or len(deepest.absolute_path) > len(error.absolute_path) else error


#: What the patterns of a schema ask for: that of identifiers, and that of a folder.
IDENTIFIER = "is no id: lower-case letters, digits and _, starting with a letter"
WRITABLE = "cannot be the folder: it must not hold braces, quotes, backslashes, $ or line breaks, nor start with ~"


def explanation(error: ValidationError) -> str:
    """What is wrong with the value, in words."""
    value, limit, schema = error.instance, error.validator_value, error.schema
    match error.validator:
        case "anyOf":
            return wrong_type(value, [one.validator_value for one in error.context or () if one.validator == "type"])
        case "type":
            return wrong_type(value, [limit] if isinstance(limit, str) else limit)
        case "enum":
            return f"{value!r} is unknown.{suggestion(str(value), map(str, limit))}"
        case "pattern":
            return f"{value!r} {IDENTIFIER if 'a-z' in limit else WRITABLE}"
        case "minimum":
            return f"{value} is below the minimum of {limit}"
        case "maximum":
            return f"{value} is above the maximum of {limit}"
        case "exclusiveMinimum":
            return f"{value} is not greater than {limit}"
        case "exclusiveMaximum":
            return f"{value} is not less than {limit}"
        case "minItems" | "maxItems" if "prefixItems" in schema:
            return f"expected a list of {len(schema['prefixItems'])}, got {shown(value)}"
        case "minItems" | "minProperties" | "minLength":
            return "must not be empty"
        case "uniqueItems":
            return f"{value} has non-unique elements"
    return str(error.message)


def check(value: Any, schema: Mapping[str, Any], at: Callable[[Key], Key] = lambda key: key) -> None:
    """Validate ``value`` against a JSON schema.

    Args:
        value: some settings.
        schema: what they may be.
        at: from a key within ``value`` to where in the config it stands.

    Raises:
        ConfigError: naming the offending key, what is wrong, and the nearest valid key if one was misspelt.
    """
    errors = map(branch, Validator(dict(schema)).iter_errors(value))
    # A misspelt key comes before the one that is missing because of it.
    error = min(errors, key=lambda one: (len(one.absolute_path), one.validator == "required", str(one.message)), default=None)
    if error is None:
        return
    inside: Key = tuple(error.absolute_path)
    key = at(inside)
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        valid, patterns = error.schema.get("properties", {}), error.schema.get("patternProperties")
        ids = Validator({"propertyNames": {"pattern": next(iter(patterns))}}) if patterns else None
        for name in error.instance:
            place = at((*inside, name))
            if ids is not None and not ids.is_valid({name: None}):
                raise ConfigError(f"{dotted(place[:-1])}: {name!r} {IDENTIFIER}", place)
            if ids is None:
                one_of(name, valid, place[:-1], place)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        raise ConfigError(f"{dotted(key)}: {missing!r} is a required key and is missing", key)
    of_name = "propertyNames" in error.absolute_schema_path
    raise ConfigError(f"{dotted(key)}: {explanation(error)}", at((*inside, error.instance)) if of_name else key)


def fields_at(model: type[pydantic.BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The names of the fields of the model that an error's location leads to."""
    import typing

    from pydantic import BaseModel

    def models(annotation: Any) -> Iterable[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for part in typing.get_args(annotation):
            yield from models(part)

    for name in location:
        field = model.model_fields.get(str(name))
        inner = list(models(field.annotation)) if field else []
        if not inner:
            break
        model = inner[0]
    return list(model.model_fields)


def told(error: pydantic.ValidationError) -> str:
    """A pydantic error as one line in the words of this module: settings that came from the command line and not from a config."""
    from pydantic import BaseModel

    def subclasses(model: type[BaseModel]) -> Iterable[type[BaseModel]]:
        for child in model.__subclasses__():
            yield child
            yield from subclasses(child)

    owner = next((model for model in subclasses(BaseModel) if model.__name__ == error.title), None)
    lines, judged = [], set()
    for one in error.errors(include_url=False):
        location, value = one["loc"], one["input"]
        place = ".".join([error.title, *map(str, location[:-1])])
        if one["type"] == "extra_forbidden" and location:
            choices = fields_at(owner, location[:-1]) if owner is not None else []
            lines.append(f"{place}: {str(location[-1])!r} is unknown.{suggestion(str(location[-1]), choices)}")
        elif one["type"] == "missing" and location:
            lines.append(f"{place}: {str(location[-1])!r} is a required key and is missing")
        elif (location[:-1], id(value)) not in judged:
            # A value that fits none of several types is judged once for each.
            judged.add((location[:-1], id(value)))
            message = one["msg"][:1].lower() + one["msg"][1:]
            lines.append(f"{'.'.join([error.title, *map(str, location)])}: {message}, got {shown(value)}")
    return "; ".join(lines)


def in_words(error: Exception) -> str:
    """What the command line says of an error: a pydantic error in our words, any other as it is."""
    from pydantic import ValidationError as Refused

    return told(error) if isinstance(error, Refused) else str(error)
