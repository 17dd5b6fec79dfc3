"""JSON Schema of the file's models: types of values and choices in the file. It does not contain the checks of
validators in code (a name exists, a text is an address).
"""

import re
from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from spectrum.core.configuration import fields

_TIME: JsonSchemaValue = {"type": ["string", "number"], "examples": ["5s", "1h"]}
_TEXT: JsonSchemaValue = {"type": "string"}
# A reference at the end, which a sentence without links does not need.
_SEE = re.compile(r"(?<=[\w`)])(?:[,:;]? see|:) \[[^]]+\]\([^)]+\)$")
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
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

    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Return the schema of a model, with its keys described by sentences."""
        found: JsonSchemaValue = _with_sentences(super().generate(schema, mode))
        return found

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


def _with_sentences(node: Any) -> Any:
    """Return a schema whose keys are described by sentences without links, which editors show as they are."""
    if isinstance(node, list):
        return [_with_sentences(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_sentences(item) for key, item in node.items()}
    for one in found["properties"].values() if isinstance(found.get("properties"), dict) else ():
        if isinstance(one.get("description"), str):
            one["description"] = sentence(one["description"])
    return found


def sentence(meaning: str) -> str:
    """Return the description of a field as a sentence; the docs' tables have it as a phrase, with links in Markdown."""
    plain = _LINK.sub(r"\1", _SEE.sub("", meaning)).removeprefix("added: ")  # to Cloudflare's keys
    return f"{plain[:1].upper()}{plain[1:]}" + ("" if plain.endswith((".", "!", "?")) else ".")
