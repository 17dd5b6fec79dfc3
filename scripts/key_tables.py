"""Write the tables of keys in docs/ from the models of the file: scripts/key_tables.py

A table stands between `<!-- keys of MODEL at PREFIX, ... -->` and `<!-- end of keys -->`; the prefix may be omitted.
The meaning of a key is the description of its field. A mapping without a description has a row for each of its keys.
Bodies of the API that are not objects of the file have tables between `<!-- fields of SCHEMA -->` and the same end,
events of its streams between `<!-- events of CLASS, ... -->` and that.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spectrum.api.analytics.bodies import BODY_SCHEMA
from spectrum.api.live_events import AwayEvent, LiveEvent
from spectrum.api.routes.schemas import PACK_ORDER
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.fields import Shown, switch

DOCS = Path(__file__).parent.parent / "docs"
_REGION = re.compile(r"(<!-- (keys|fields|events) of (.*?) -->\n).*?(\n<!-- end of keys -->)", re.DOTALL)
_HEAD_OF_EVENTS = "| key | meaning |\n| --- | --- |"
_HEAD = "| key | values | default | meaning |\n| --- | --- | --- | --- |"


def models(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the mappings of the file that a type contains, the outermost first."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for base in kind.__mro__[1:]:
            if issubclass(base, BaseModel) and base.__module__.startswith("spectrum."):
                yield base
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(kind):
        yield from models(part)


SCHEMAS = {"order of a certificate": PACK_ORDER, "query": BODY_SCHEMA}
EVENTS: dict[str, type[msgspec.Struct]] = {one.__name__: one for one in (LiveEvent, AwayEvent)}
MODELS = {model.__name__: model for model in models(Config)}


def page(path: Path) -> str:
    """Return the text of a page with its tables of keys as they have to be."""

    def table(found: re.Match[str]) -> str:
        if found[2] == "keys":
            rows = [row for part in found[3].split(",") for row in _rows_of(part.strip())]
        elif found[2] == "fields":
            rows = list(fields(SCHEMAS[found[3]]))
        else:
            rows = [row for name in found[3].split(", ") for row in event_rows(EVENTS[name])]
        head = _HEAD_OF_EVENTS if found[2] == "events" else _HEAD.replace("key", found[2][:-1], 1)
        lines = "\n".join(f"| {' | '.join(row)} |" for row in rows).replace(f"]({path.name}#", "](#")
        return f"{found[1]}\n{head}\n{lines}\n{found[4]}"

    return _REGION.sub(table, path.read_text())


def _rows_of(named: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows of `MODEL at PREFIX`; with `MODEL's own` those of the keys that it does not inherit."""
    name, _, prefix = named.partition(" at ")
    name, is_own, _ = name.partition("'s own")
    model = MODELS[name]
    only = inspect.get_annotations(model) if is_own else None
    yield from rows(model, f"{prefix}." if prefix else "", only)


def rows(model: type[BaseModel], prefix: str = "", only: Any = None) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a model's keys: key, values, default, meaning."""
    for name, field in model.model_fields.items():
        if only is not None and name not in only:
            continue
        if not only and _is_of_cloudflare(model, name):
            continue
        key, shown, inner = f"{prefix}{field.alias or name}", _shown(field), _model_in(field.annotation)
        if field.description is not None:
            meaning = field.description.replace("|", "\\|")
            yield f"`{key}`", values(field), default(field), meaning
        if inner is not None and (field.description is None or shown.opens):
            yield from rows(inner[0], f"{key}{inner[1]}.")


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the fields of a body, from its JSON Schema."""
    for name, field in schema["properties"].items():
        is_needed = name in schema.get("required", ())
        initial = "required" if is_needed else f"`{_text(field['default'])}`" if "default" in field else "none"
        yield f"`{name}`", _values_of(field), initial, field["description"].replace("|", "\\|")


def event_rows(event: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yield the rows of an event's keys, each followed by those of the object or list of objects that it has."""
    hints = get_type_hints(event, include_extras=True)
    for field in msgspec.structs.fields(event):
        kind, meta = get_args(hints[field.name])
        yield f"`{prefix}{field.encode_name}`", meta.description.replace("|", "\\|")
        for part in (kind, *get_args(kind)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from event_rows(part, f"{prefix}{field.encode_name}{'.' if part is kind else '[].'}")


def _values_of(field: dict[str, Any]) -> str:
    """Return the accepted values of a field of a body."""
    if "anyOf" in field:
        return ", ".join(map(_values_of, field["anyOf"]))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{_text(one)}`" for one in field.get("enum", [field.get("const")]) if one is not None)
    kinds = [field["type"]] if isinstance(field["type"], str) else field["type"]
    words = {"string": "text", "array": "list", "object": "mapping", "integer": "number", "boolean": "`true`, `false`"}
    if "maximum" in field:
        words["integer"] = f"{field['minimum']:,} to {field['maximum']:,}"
    if "items" in field:
        words["array"] = f"list of {_plural(_values_of(field['items']))}"
    return ", ".join(words.get(kind, kind) for kind in kinds if kind != "null")


def _is_of_cloudflare(model: type[BaseModel], name: str) -> bool:
    """Return whether a key has no meaning here: such keys have a table of their own."""
    home = next(one for one in model.__mro__ if name in inspect.get_annotations(one))
    return home is not model and home.__module__.endswith(".cloudflare")


def _model_in(kind: Any) -> tuple[type[BaseModel], str] | None:
    """Return the mapping that a type contains, and how a key below it is written: `[]` of a list, `.NAME` of names."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, ""
    mark = {tuple: "[]", dict: ".NAME"}.get(get_origin(kind), "")
    for part in get_args(kind):
        if (found := _model_in(part)) is not None:
            return found[0], mark + found[1]
    return None


def _metadata(field: FieldInfo) -> Iterator[Any]:
    """Yield what a field's annotation says beside its type, the outermost first."""
    yield from reversed(field.metadata)
    yield from _inner_metadata(field.annotation)


def _inner_metadata(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _flat(kind.__metadata__)
        yield from _inner_metadata(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for part in get_args(kind):
            yield from _inner_metadata(part)


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    """Yield metadata, the outermost first; that of a `Field` is in it."""
    for one in reversed(metadata):
        yield from reversed(one.metadata) if isinstance(one, FieldInfo) else [one]


def _shown(field: FieldInfo) -> Shown:
    """Return what a field says of itself, then its type."""
    found = [one for one in _metadata(field) if isinstance(one, Shown)]
    first = next(iter(found), Shown())
    values = next((one.values for one in found if one.values), "")
    default = next((one.default for one in found if one.default), "")
    unit = next((one.unit for one in found if one.unit), "")
    return Shown(values, default, unit, first.opens)


def values(field: FieldInfo) -> str:
    """Return the accepted values of a key."""
    if said := _shown(field).values:
        return said
    words = _values(field.annotation, list(_metadata(field)))
    is_switch = any(getattr(one, "func", None) is switch for one in _metadata(field))
    return f"`true`, {words}, `false`" if is_switch else words


def _values(kind: Any, metadata: list[Any]) -> str:
    if get_origin(kind) is Annotated:
        inner = list(_flat(kind.__metadata__))
        said = next((one.values for one in inner if isinstance(one, Shown) and one.values), "")
        return said or _values(get_args(kind)[0], [*metadata, *inner])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{_text(one)}`" for one in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        parts = [_values(one, metadata) for one in get_args(kind) if one is not NoneType]
        return ", ".join(dict.fromkeys(parts))
    if get_origin(kind) is tuple:
        inside = get_args(kind)[0]
        inner = _model_in(inside)
        of = f"`{_keys(inner[0])}`" if inner else _plural(_values(inside, []))
        most = next((one.max_length for one in metadata if isinstance(one, annotated_types.MaxLen)), None)
        return f"list of {of}" + (f", at most {most}" if most else "")
    if get_origin(kind) is dict:
        return "mapping of names" if _model_in(kind) else "mapping"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"`{_keys(kind)}`"
    if kind is bool:
        return "`true`, `false`"
    if kind in (int, float):
        return _numbers(metadata)
    assert kind is str, kind
    most = next((one.max_length for one in metadata if isinstance(one, annotated_types.MaxLen)), None)
    return f"text, at most {most} characters" if most else "text"


def _plural(word: str) -> str:
    return {"text": "names", "prefix": "prefixes", "address": "addresses"}.get(word, word)


def _keys(model: type[BaseModel]) -> str:
    """Return a mapping as it stands in the file, with the defaults that it has."""
    said = []
    for name, field in model.model_fields.items():
        if _is_of_cloudflare(model, name):
            continue
        shown = "" if field.is_required() else default(field).strip("`")
        is_plain = re.fullmatch(r"[\w.]+", shown) and shown not in ("none", "required")
        said.append(f"{field.alias or name}: {shown}" if is_plain else field.alias or name)
    return f"{{{', '.join(said)}}}"


def _numbers(metadata: list[Any]) -> str:
    low = next((one.ge for one in metadata if isinstance(one, annotated_types.Ge)), None)
    high = next((one.le for one in metadata if isinstance(one, annotated_types.Le)), None)
    if high is None or high >= 10**9:
        return f"at least {low:,}" if low is not None and low > 1 else "number"
    return f"{low:,} to {high:,}" if low is not None else f"up to {high:,}"


def default(field: FieldInfo) -> str:
    """Return the default of a key."""
    shown = _shown(field)
    if shown.default:
        return shown.default
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, ""):
        return "`false`" if any(getattr(one, "func", None) is switch for one in _metadata(field)) else "none"
    if isinstance(value, BaseModel):
        return "as shown"
    if shown.unit == "s":
        return f"`{_duration(value)}`"
    if shown.unit == "B":
        return f"`{_size(value)}`"
    return f"`{_text(value)}`"


def _duration(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if (count := seconds / size) >= 1 and abs(count - round(count)) < 1e-9:
            return f"{count:g}{unit}"
    return f"{seconds:g}"


def _size(size: int) -> str:
    for of, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size and size % of == 0:
            return f"{size // of}{unit}"
    return str(size)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return '""' if value == "" else str(value)


def outdated() -> list[Path]:
    """Return the pages with other tables than the models have."""
    return [path for path in sorted(DOCS.glob("*.md")) if path.read_text() != page(path)]


if __name__ == "__main__":
    for path in outdated():
        sys.stdout.write(f"{path}\n")
        path.write_text(page(path))
