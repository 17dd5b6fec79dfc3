"""JSON Schema of the file's models: types of values and choices in the file. It does not contain the checks of
validators in code (a name exists, a text is an address).
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from spectrum.core.configuration import fields

_TIME: JsonSchemaValue = {"type": ["string", "number"], "examples": ["5s", "1h"]}
_TEXT: JsonSchemaValue = {"type": "string"}
# The input types of validators in `core.configuration.fields`, by function.
_TAKEN: dict[Callable[..., Any], JsonSchemaValue] = {
    fields.duration: _TIME,
    fields.positive_duration: _TIME,
    fields.size: {"type": ["string", "integer"], "examples": ["64MiB"]},
    fields.network: {"type": "string", "examples": ["192.0.2.0/24"]},
    fields.country: _TEXT,
}


class ModelSchema(GenerateJsonSchema):
    """The schema of a field's YAML value, if pydantic knows only the converted type."""

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        """Return the input type of a validator; any type if it is unknown."""
        return dict(_TAKEN.get(schema["function"]["function"], {}))

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Return the type behind a validator, or any other that it converts to that."""
        inner = self.generate_inner(schema["schema"])
        return inner if schema["function"]["function"] is fields.sequence else {"anyOf": [inner, {}]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return a field without its default if that is an object of ours."""
        if isinstance(schema.get("default"), str | int | float):
            return super().default_schema(schema)
        return self.generate_inner(schema["schema"])


def describe(schema: dict[str, Any], root: type[BaseModel]) -> None:
    """Add the comments above fields to the schema as descriptions."""
    for model in set(_models(root)):
        properties = (schema if model is root else schema["$defs"][model.__name__])["properties"]
        for base in model.__mro__:
            if issubclass(base, BaseModel) and base is not BaseModel:
                for name, comment in _comments(base).items():
                    key = model.model_fields[name].alias or name
                    properties[key].setdefault("description", comment)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type contains."""
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
