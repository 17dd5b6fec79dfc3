"""Faults of a configuration: a path into it, the value found, the value expected."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from spectrum.core.configuration.fields import KeyFault, describe

Path = tuple[str | int, ...]
# Number of keys of a mapping in a message: its page of the docs has all.
MAX_KEYS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        path: The place in the file.
        message: The fault.
        at_key: It is about the key itself, not its value.
        taken_by: The app whose listener is in the way; empty for other faults.
    """

    path: Path
    message: str
    at_key: bool = False
    taken_by: str = field(default="", compare=False)


def faults_of(error: ValidationError, model: type[BaseModel], prefix: Path) -> Iterator[Fault]:
    """Yield the faults that pydantic found in a `model` at `prefix` of the file."""
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and item["input"]:
            continue  # pydantic also counts valid entries; each of the others is a fault of its own.
        path: Path = tuple(item["loc"])
        message = _message(item, model, path)
        if isinstance(cause := item.get("ctx", {}).get("error"), KeyFault):
            path += cause.place
        yield Fault(prefix + path, message, at_key=item["type"] == "extra_forbidden")


def nearest(word: object, known: list[str]) -> str:
    """Return `; did you mean ...` for a typo, otherwise the list of known names."""
    close = get_close_matches(str(word), known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; known here: {', '.join(sorted(known))}"


# Names in other proxies, and in YAML 1.1.
_MEANT = {
    **dict.fromkeys(("deny", "drop", "reject", "refuse"), "block"),
    **dict.fromkeys(("permit", "accept", "pass"), "allow"),
    **dict.fromkeys(("on", "true", "yes", "terminate"), "flexible"),
    **dict.fromkeys(("no", "false", "none"), "off"),
}
# Keys of other files.
_ELSEWHERE = {
    "include": "files are included at the top of a file",
}
_MAPPINGS = ("dict_type", "model_type", "model_attributes_type")
_LISTS = ("list_type", "tuple_type")
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}


def _message(item: Any, model: type[BaseModel], path: Path) -> str:
    kind, found, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return _ELSEWHERE.get(str(path[-1])) or f'unknown key "{path[-1]}"' + nearest(
            path[-1], _keys_at(model, path[:-1])
        )
    if kind == "missing":
        return f'"{path[-1]}" is missing'
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = [name for name in context["expected"].replace("'", "").replace(" or ", ", ").split(", ") if name]
        meant = _MEANT.get(str(found).lower())
        hint = f"; did you mean {meant}?" if meant in choices else ""
        return f"expected {' or '.join(choices)}, found {describe(found)}{hint}"
    if kind in _MAPPINGS:
        keys = _keys_at(model, path)
        return f"expected a mapping{keys and f' with {_and_so_on(keys)}'}, found {describe(found)}"
    if kind in _LISTS:
        hint = f"; write [{found}]" if isinstance(found, str | int | float) else ""
        return f"expected a list, found {describe(found)}{hint}"
    if kind == "too_short":
        return "an empty list: name at least one"
    if kind == "too_long":
        return f"expected at most {context['max_length']} entries, found {context['actual_length'] or 'more'}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {describe(found)}"
    return f"{item['msg'][0].lower()}{item['msg'][1:]}, found {describe(found)}"


def _and_so_on(keys: list[str]) -> str:
    return ", ".join(keys[:MAX_KEYS_SHOWN]) + (", ..." if len(keys) > MAX_KEYS_SHOWN else "")


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the mapping at `path` below `model` knows."""
    steps = iter(path)
    for step in steps:
        field = next((f for name, f in model.model_fields.items() if (f.alias or name) == step), None)
        annotation = field.annotation if field else None
        if get_origin(annotation) is dict:
            if next(steps, None) is None:  # The mapping of names itself.
                return []
            annotation = get_args(annotation)[1]
        inner = _model_in(annotation)
        if inner is not None:
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated, tuple):
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None
