"""Converts objects of a configuration back to plain values of a file."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

# Replaces possible secrets.
HIDDEN = "(hidden)"
Place = tuple[str | int, ...]


def plain(model: BaseModel, place: Place = (), hides: Callable[[Place], bool] = lambda place: False) -> dict[str, Any]:
    """Return the keys of a model that were given, with values that can be read again.

    Args:
        model: An object of the file, or a part of one.
        place: Its path in the file.
        hides: Tells whether there may be a secret at a place. A text there is left out.
    """
    given = model.model_fields_set
    found = {}
    for name, field in type(model).model_fields.items():
        if name in given:
            key = field.alias or name
            found[key] = _plain(getattr(model, name), (*place, key), hides)
    return found


def _plain(value: Any, place: Place, hides: Callable[[Place], bool]) -> Any:
    match value:
        case BaseModel():
            return plain(value, place, hides)
        case Mapping():
            return {str(key): _plain(item, (*place, str(key)), hides) for key, item in value.items()}
        case tuple() | list() | frozenset():
            return [_plain(item, (*place, index), hides) for index, item in enumerate(value)]
        case None | bool() | int() | float():
            return value
        case str():
            return HIDDEN if hides(place) else value
    return str(value)
