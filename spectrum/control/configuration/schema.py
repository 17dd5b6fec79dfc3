"""A JSON Schema of the configuration file, for editors: keys with their descriptions, kinds of values, choices.

It is generated from the models: the meaning of a key is the description of its field. It does not contain the checks of
validators in code (a name exists, a text is an address); `spectrum check` does these.
"""

from typing import Any

from pydantic.json_schema import JsonSchemaValue

from spectrum.control.configuration.includes import KEY, OWN_KEYS
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.json_schema import ModelSchema
from spectrum.core.configuration.presets import PRESETS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# A value of a fixed type may be a reference instead: control.configuration.references.
_REFERENCE: JsonSchemaValue = {"type": "string", "pattern": r"\$"}
_FIXED = ("integer", "number", "boolean")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration file."""
    plain = Config.model_json_schema(schema_generator=ModelSchema)
    found: dict[str, Any] = _with_references(plain)
    files = {"type": "array", "items": {"type": "string"}, "examples": [["teams/*.yaml"]]}
    about = "Other files, or patterns of files, relative to this one."
    found["properties"][KEY] = {"anyOf": [files, {"type": "string"}], "description": about}
    found["patternProperties"] = {f"^{OWN_KEYS}": {"description": "For anchors and tools; ignored."}}
    app = found["$defs"]["App"]
    app["required"].remove("protocol")
    app["anyOf"] = [{"required": ["protocol"]}, {"required": ["preset"]}]
    app["properties"]["preset"] = {"enum": list(PRESETS), "description": "Sets defaults for a protocol."}
    about = "A file of Spectrum, a layer-4 edge proxy."
    return {"$schema": DIALECT, "title": "Spectrum's configuration", **found, "description": about}


def _with_references(node: Any) -> Any:
    """Return a schema that also accepts a reference in place of a number, a switch or a choice."""
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_references(item) for key, item in node.items() if key != "title" or not isinstance(item, str)}
    if node.get("type") in _FIXED or ("enum" in node and isinstance(node["enum"], list)):
        about = {"description": found.pop("description")} if "description" in found else {}
        return {"anyOf": [found, _REFERENCE], **about}
    return found
