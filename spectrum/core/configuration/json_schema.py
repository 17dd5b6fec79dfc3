"""JSON Schema of the file's models: kinds of values and choices as they stand in the file.

What only a validator of ours knows (that a name exists, that an address is one) it takes as it is.
"""

from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from spectrum.core.configuration import fields

_TIME: JsonSchemaValue = {"type": ["string", "number"], "examples": ["5s", "1h"]}
_TEXT: JsonSchemaValue = {"type": "string"}
# What validators of `core.configuration.fields` take, by their functions.
_TAKEN: dict[Callable[..., Any], JsonSchemaValue] = {
    fields.duration: _TIME,
    fields.positive_duration: _TIME,
    fields.size: {"type": ["string", "integer"], "examples": ["64MiB"]},
    fields.network: {"type": "string", "examples": ["192.0.2.0/24"]},
    fields.country: _TEXT,
}


class ModelSchema(GenerateJsonSchema):
    """What YAML gives for a field, where pydantic knows only what comes of it."""

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        """Return what a validator of ours takes; anything, where that is not known."""
        return dict(_TAKEN.get(schema["function"]["function"], {}))

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Return what stands behind a validator, and anything else that it may make into that."""
        inner = self.generate_inner(schema["schema"])
        return inner if schema["function"]["function"] is fields.sequence else {"anyOf": [inner, {}]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return a field without a default that is an object of ours."""
        if isinstance(schema.get("default"), str | int | float):
            return super().default_schema(schema)
        return self.generate_inner(schema["schema"])
