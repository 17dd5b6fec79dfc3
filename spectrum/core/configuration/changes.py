"""Describes the differences between two configurations."""

from collections.abc import Callable, Collection, Container, Iterator
from typing import Any

from pydantic import BaseModel

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import Names, Section
from spectrum.core.configuration.fields import describe
from spectrum.core.features import FIXED, SECTIONS
from spectrum.core.identity import unlike_names

# Returns whether a path of the file may hold a secret.
_Hides = Callable[[tuple[str, ...]], bool]
# Sections that are compared object by object.
_OBJECTS = frozenset(section.key for section in SECTIONS)
_SETTINGS = tuple(field for field in Config.model_fields if field not in _OBJECTS)
# Number of changes listed, for example of the origins of a pool.
MAX_PARTS_SHOWN = 10
# The file's words for 0.
_NAMES = {"workers": "auto", "busy_poll": "off"}


def settings_differ(old: Config, new: Config) -> bool:
    """Tell whether something else than objects differs."""
    settings = ((getattr(old, field), getattr(new, field)) for field in _SETTINGS)
    return any(before is not after and before != after for before, after in settings)


def differing(old: Config, new: Config, among: Names | None = None) -> Names | None:
    """Return the names of objects that differ, by section; None if anything other than objects differs. Unchanged
    objects are the same Python objects.

    Args:
        old: The former configuration.
        new: The new configuration.
        among: The names of the objects that may differ, if known. Otherwise this iterates over all objects.
    """
    if settings_differ(old, new):
        return None
    names: dict[str, list[str]] = {}
    for key in _OBJECTS if among is None else among:
        before, after = getattr(old, key), getattr(new, key)
        if among is None:
            names[key] = unlike_names(before, after)
        else:
            names[key] = [name for name in among[key] if before.get(name) is not after.get(name)]
    return {key: found for key, found in names.items() if found}


def changes(old: Config, new: Config, names: Names | None = None) -> list[str]:
    """Return a line for each object that was added, removed or changed, and for each other changed setting.

    Args:
        old: The former configuration.
        new: The new configuration.
        names: The names of the objects that differ, if known.
    """
    lines: list[str] = []
    hides = _hides(old, new)
    for section in SECTIONS:
        before, after = getattr(old, section.key), getattr(new, section.key)
        found = unlike_names(before, after) if names is None else names.get(section.key, ())
        lines += _changed_objects(section, before, after, found, hides)
    return lines + [f"changed {change}" for change in _changed_settings(old, new) if not _is_fixed(change)]


def restart_needed(started: Config, now: Config) -> list[str]:
    """Return each setting that differs from those that the daemon was started with and requires a restart to change."""
    return [change for change in _changed_settings(started, now) if _is_fixed(change)]


def _is_fixed(change: str) -> bool:
    path = change.partition(" ")[0]
    return any(path == fixed or path.startswith(f"{fixed}.") for fixed in FIXED)


def _hides(old: Config, new: Config) -> _Hides:
    return lambda place: old.hides(place) or new.hides(place)


def _changed_objects(
    section: Section, old: dict[str, BaseModel], new: dict[str, BaseModel], names: Collection[str], hides: _Hides
) -> Iterator[str]:
    kind = section.kind
    yield from (f"added {kind} {name}" for name in names if name not in old)
    yield from (f"removed {kind} {name}" for name in names if name not in new)
    for name in (name for name in names if name in old and name in new):
        if details := list(_changed_fields(old[name], new[name], hides, (section.key, name))):
            yield f"changed {kind} {name}: {', '.join(details)}"


def _changed_settings(old: Config, new: Config) -> Iterator[str]:
    """Yield differences in the top-level settings, without named objects."""
    return _changed_fields(old, new, _hides(old, new), without=_OBJECTS)


def _changed_fields(
    old: BaseModel,
    new: BaseModel,
    hides: _Hides,
    place: tuple[str, ...] = (),
    prefix: str = "",
    without: Container[str] = (),
) -> Iterator[str]:
    """Yield the path of each setting that differs, with both values if they are short and not secrets."""
    for field, info in type(new).model_fields.items():
        if field in without:
            continue
        key = info.alias or field
        before, after, path, here = getattr(old, field), getattr(new, field), prefix + key, (*place, key)
        if before == after:
            continue
        if isinstance(before, BaseModel) and type(before) is type(after):
            yield from _changed_fields(before, after, hides, here, f"{path}.")
        elif (one := _by_name(before)) is not None and (other := _by_name(after)) is not None:
            yield from _changed_parts(one, other, hides, here, path)
        elif _is_short(before) and _is_short(after) and not hides(here):
            yield f"{path} {_named(path, before)} -> {_named(path, after)}"
        else:
            yield path


def _by_name(value: Any) -> dict[str, BaseModel] | None:
    """Return the objects in a list or mapping of the file by name; None if they have no names."""
    if isinstance(value, tuple):
        value = {getattr(item, "name", None): item for item in value}
    if isinstance(value, dict) and value and all(isinstance(item, BaseModel) for item in value.values()):
        return value if None not in value else None
    return None


def _changed_parts(
    old: dict[str, BaseModel], new: dict[str, BaseModel], hides: _Hides, place: tuple[str, ...], path: str
) -> Iterator[str]:
    """Yield the differences between named objects within an object, such as a pool's origins: the first of them."""
    found = [f"{path}.{name} added" for name in new if name not in old]
    found += [f"{path}.{name} removed" for name in old if name not in new]
    # The position in a list may change: if one may be a secret, all are treated as secrets.
    hides_all = hides(place)
    for name in (name for name in new if name in old):
        found += _changed_fields(old[name], new[name], lambda _: hides_all, prefix=f"{path}.{name}.")
    yield from found[:MAX_PARTS_SHOWN] or [f"{path} in another order"]
    if len(found) > MAX_PARTS_SHOWN:
        yield f"and {len(found) - MAX_PARTS_SHOWN} more in {path}"


def _is_short(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) <= 3 and all(_is_short(item) for item in value)
    return value is None or (not isinstance(value, BaseModel | dict | list) and len(str(value)) <= 40)


def _named(path: str, value: Any) -> str:
    return _NAMES[path] if value == 0 and path in _NAMES else _shown(value)


def _shown(value: Any) -> str:
    match value:
        case tuple():
            return f"[{', '.join(_shown(item) for item in value)}]"
        case float():
            return f"{value:g}"
        case None | bool() | int() | "":
            return describe(value)
        case str() if not value.isprintable():
            return repr(value)
        case _:
            return str(value)
