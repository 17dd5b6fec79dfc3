"""A JSON Schema of the configuration file, for editors: keys with their descriptions, kinds of values, choices.

It is made of the models. What only a validator of ours knows (that a name exists, that an address is one) it takes as
it is: `spectrum check` has the last word.
"""

from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from spectrum.control.configuration.includes import KEY, OWN_KEYS
from spectrum.core.configuration import fields
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.presets import PRESETS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
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
# Whatever has a fixed type may come from elsewhere: control.configuration.references.
_REFERENCE: JsonSchemaValue = {"type": "string", "pattern": r"\$"}
_FIXED = ("integer", "number", "boolean")


class _Generator(GenerateJsonSchema):
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


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration file."""
    found: dict[str, Any] = _with_references(Config.model_json_schema(schema_generator=_Generator))
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


def _with_references(node: Any) -> Any:
    """Return a schema that also takes a reference in place of a number, a switch or a choice."""
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_references(item) for key, item in node.items() if key != "title" or not isinstance(item, str)}
    if node.get("type") in _FIXED or ("enum" in node and isinstance(node["enum"], list)):
        return {"anyOf": [found, _REFERENCE]}
    return found
