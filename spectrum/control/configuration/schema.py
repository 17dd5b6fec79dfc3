"""A JSON Schema of the configuration file, for editors: keys with their descriptions, kinds of values, choices.

It is made of the models: what a key means is in the comment above its field. What only a validator of ours knows (that
a name exists, that an address is one) it takes as it is: `spectrum check` has the last word.
"""

import ast
import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

from spectrum.control.configuration.includes import KEY, OWN_KEYS
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.json_schema import ModelSchema
from spectrum.core.configuration.presets import PRESETS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Whatever has a fixed type may come from elsewhere: control.configuration.references.
_REFERENCE: JsonSchemaValue = {"type": "string", "pattern": r"\$"}
_FIXED = ("integer", "number", "boolean")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration file."""
    plain = Config.model_json_schema(schema_generator=ModelSchema)
    _describe(plain)
    found: dict[str, Any] = _with_references(plain)
    files = {"type": "array", "items": {"type": "string"}, "examples": [["teams/*.yaml"]]}
    about = "Other files, and patterns of them, relative to this one."
    found["properties"][KEY] = {"anyOf": [files, {"type": "string"}], "description": about}
    found["patternProperties"] = {f"^{OWN_KEYS}": {"description": "For anchors and tools; passed over."}}
    app = found["$defs"]["App"]
    app["required"].remove("protocol")
    app["anyOf"] = [{"required": ["protocol"]}, {"required": ["preset"]}]
    app["properties"]["preset"] = {"enum": list(PRESETS), "description": "Sets defaults for a protocol."}
    about = "A file of Spectrum, a layer-4 edge proxy."
    return {"$schema": DIALECT, "title": "Spectrum's configuration", **found, "description": about}


def _describe(schema: dict[str, Any]) -> None:
    """Give the keys of a schema the comments above their fields."""
    for model in set(_models(Config)):
        properties = (schema if model is Config else schema["$defs"][model.__name__])["properties"]
        for base in model.__mro__:
            if issubclass(base, BaseModel) and base is not BaseModel:
                for name, comment in _comments(base).items():
                    key = model.model_fields[name].alias or name
                    properties[key].setdefault("description", comment)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type consists of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(kind):
        yield from _models(part)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comments above the fields of a class, by field."""
    source = inspect.getsource(model)
    lines, (body,) = source.splitlines(), ast.parse(source).body
    found = {}
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = last = node.lineno - 1
            while lines[first - 1].lstrip().startswith("#"):
                first -= 1
            if text := " ".join(line.strip(" #") for line in lines[first:last]):
                found[node.target.id] = text
    return found


def _with_references(node: Any) -> Any:
    """Return a schema that also takes a reference in place of a number, a switch or a choice."""
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_references(item) for key, item in node.items() if key != "title" or not isinstance(item, str)}
    if node.get("type") in _FIXED or ("enum" in node and isinstance(node["enum"], list)):
        about = {"description": found.pop("description")} if "description" in found else {}
        return {"anyOf": [found, _REFERENCE], **about}
    return found
