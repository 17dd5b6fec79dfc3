"""Schemas of bodies in the OpenAPI document: for each kind that of its model in the file, in the API's form.

They are built on demand, as that takes longer than starting the API. Routes refer to them, and `resolved` inserts them.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from spectrum.api.kinds.kind import Kind
from spectrum.core.configuration.json_schema import ModelSchema
from spectrum.core.ddos.expressions import MAX_LENGTH
from spectrum.core.ddos.managed import CATEGORIES, PHASE, RULESET_ID, SENSITIVITIES
from spectrum.core.ddos.overrides import OVERRIDE_ACTIONS
from spectrum.core.ddos.ruleset_objects import MAX_DESCRIPTION
from spectrum.core.tls.acme import MAX_NAMES
from spectrum.core.tls.objects import MAX_PRIORITY

Schema = dict[str, Any]
ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_OWN = ("zone", "account")
_STAMP: Schema = {"type": "string", "format": "date-time"}
_STAMPS: Schema = {"id": ID, "created_on": _STAMP, "modified_on": _STAMP}
_WHOM: Schema = {
    "type": "object",
    "required": ["target"],
    "properties": {
        "target": {"enum": ["ip", "ip6", "ip_range", "asn", "country"]},
        "value": {"type": "string"},
        "values": {"type": "array", "items": {"type": "string"}},
    },
}
_SETTING: Schema = {
    "action": {"enum": list(OVERRIDE_ACTIONS)},
    "sensitivity_level": {"enum": list(SENSITIVITIES)},
    "enabled": {"const": True},
}


def _overrides_of(key: str, schema: Schema) -> Schema:
    """Return the schema of a list of overrides with a key."""
    one = {"type": "object", "required": [key], "properties": {key: schema, **_SETTING}}
    return {"type": "array", "items": one}


# A rule of a ruleset.
RULE: Schema = {
    "type": "object",
    "required": ["action", "action_parameters", "expression"],
    "properties": {
        "ref": {"type": "string"},
        "action": {"const": "execute"},
        "action_parameters": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"const": RULESET_ID},
                "version": {"const": "latest"},
                "overrides": {
                    "type": "object",
                    "properties": {
                        "categories": _overrides_of("category", {"enum": list(CATEGORIES)}),
                        "rules": _overrides_of("id", {"type": "string"}),
                        **_SETTING,
                    },
                },
            },
        },
        "expression": {"type": "string", "maxLength": MAX_LENGTH},
        "description": {"type": "string", "maxLength": MAX_DESCRIPTION},
        "enabled": {"type": "boolean"},
    },
}
_RULESET: Schema = {
    "name": {"type": "string"},
    "description": {"type": "string", "maxLength": MAX_DESCRIPTION},
    "kind": {"const": "root"},
    "phase": {"const": PHASE},
}
# Differences of bodies to the file.
_BODIES: Mapping[str, Schema] = {
    "access_rules": {
        "type": "object",
        "required": ["mode", "configuration"],
        "properties": {
            "mode": {"enum": ["block", "whitelist"]},
            "configuration": _WHOM,
            "notes": {"type": "string"},
            "apps": {"type": "array", "items": ID, "minItems": 1},
        },
    },
    "certificates": {
        "type": "object",
        "required": ["certificate", "private_key"],
        "properties": {
            "certificate": {"type": "string"},
            "private_key": {"type": "string"},
            "bundle_method": {"enum": ["ubiquitous", "optimal", "force"]},
            "type": {"enum": ["legacy_custom", "sni_custom"]},
        },
    },
    "rulesets": {"type": "object", "properties": _RULESET | {"rules": {"type": "array", "items": RULE}}},
    "tcp_rules": {
        "type": "object",
        "required": ["mode"],
        "properties": {
            "scope": {"enum": ["global", "region", "datacenter"]},
            "name": {"type": "string"},
            "mode": {"enum": ["monitoring", "enabled", "disabled"]},
            "rate_sensitivity": {"enum": ["low", "medium", "high"]},
            "burst_sensitivity": {"enum": ["low", "medium", "high"]},
            "mitigation_type": {"enum": ["challenge", "retransmit"]},
        },
    },
    "tcp_filters": {
        "type": "object",
        "required": ["expression", "mode"],
        "properties": {
            "expression": {"type": "string"},
            "mode": {"enum": ["monitoring", "enabled", "disabled"]},
        },
    },
    "monitor_groups": {
        "type": "object",
        "required": ["description", "members"],
        "properties": {
            "description": {"type": "string"},
            "members": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["monitor_id"],
                    "properties": {
                        "monitor_id": ID,
                        "enabled": {"type": "boolean"},
                        "monitoring_only": {"type": "boolean"},
                        "must_be_healthy": {"type": "boolean"},
                    },
                },
            },
        },
    },
}
# Differences of answers to bodies, and further fields.
_RESULTS: Mapping[str, Schema] = {
    "rulesets": {
        "type": "object",
        "required": ["id", "name", "kind", "phase", "version", "last_updated", "rules"],
        "properties": {
            "id": ID,
            "name": {"type": "string"},
            "description": {"type": "string"},
            "kind": {"enum": ["managed", "root"]},
            "phase": {"const": PHASE},
            "version": {"type": "string"},
            "last_updated": _STAMP,
            "rules": {"type": "array", "items": {"type": "object", "required": ["id", "ref", "action", "expression"]}},
        },
    },
    "certificates": {
        "type": "object",
        "required": ["id", "zone_id", "hosts", "status", "uploaded_on", "modified_on"],
        "properties": {
            "id": ID,
            "zone_id": ID,
            "hosts": {"type": "array", "items": {"type": "string"}},
            "status": {"enum": ["active", "expired"]},
            "issuer": {"type": "string"},
            "signature": {"type": "string"},
            "uploaded_on": _STAMP,
            "modified_on": _STAMP,
            "expires_on": _STAMP,
        },
    },
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "apps": ("protocol", "dns"),
    "pools": ("name", "origins"),
    "load_balancers": ("name", "default_pools", "fallback_pool"),
    "lists": ("kind", "name"),
    "tcp_prefixes": ("prefix",),
    "tcp_allowlist": ("prefix",),
}
ITEMS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"ip": {"type": "string"}, "asn": {"type": "integer"}, "comment": {"type": "string"}},
    },
}
ITEM_IDS: Schema = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "items": {"type": "object", "properties": {"id": ID}}}},
}

# The priorities of certificates for the same name.
PRIORITIES: Schema = {
    "type": "object",
    "required": ["certificates"],
    "properties": {
        "certificates": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "priority"],
                "properties": {"id": ID, "priority": {"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY}},
            },
        },
    },
}
# The fields of an order that can be changed, the order of a certificate, and its answer.
PACK_CHANGE: Schema = {
    "type": "object",
    "properties": {
        "hosts": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": MAX_NAMES,
            "description": "names in the zone. The zone's own name is not required. A name that is also in a zone of "
            "another account is refused, unless this zone is the closest one of the file or, without one of the file, "
            "the oldest",
        },
        "validation_method": {
            "enum": ["http", "txt"],
            "description": "`http`: the edge answers the CA, and the names must lead to it. `txt`: the daemon sets a "
            "record at the authority's DNS server. A wildcard needs `txt`. Neither needs anything to be done by you, "
            "so `validation_records` is empty",
        },
        "validity_days": {
            "type": "integer",
            "description": "what the file has as `validity_days` of the authority, 90 by default",
        },
        "certificate_authority": {"type": "string", "description": "the name of an authority of the file"},
        "cloudflare_branding": {"const": False, "default": False, "description": "there is none"},
    },
}
PACK_ORDER: Schema = {
    "type": "object",
    "required": ["type", "hosts", "validation_method", "validity_days", "certificate_authority"],
    "properties": {
        "type": {"const": "advanced", "description": "the only type"},
        **PACK_CHANGE["properties"],
    },
}
PACK: Schema = {
    "type": "object",
    "required": ["id", "type", "hosts", "status", "certificates"],
    "properties": {
        "id": ID,
        "type": {"const": "advanced"},
        "hosts": {"type": "array", "items": {"type": "string"}},
        "status": {"enum": ["initializing", "pending_validation", "active", "expired"]},
        "validation_method": {"enum": ["http", "txt"]},
        "validity_days": {"type": "integer"},
        "certificate_authority": {"type": "string"},
        "certificates": {"type": "array", "items": {"type": "object", "required": ["id", "hosts", "status"]}},
        "validation_errors": {"type": "array", "items": {"type": "object", "required": ["message"]}},
    },
}

# The functions that build schemas, by reference.
_makers: dict[str, Callable[[], Schema]] = {}


def takes(kind: Kind) -> Schema:
    """Return the body of a route's operation: an object of a kind."""
    return takes_body(_later(f"{kind.section}/body", lambda: body_schema(kind)))


def takes_part(kind: Kind) -> Schema:
    """Return the body of a route's operation: some fields of an object."""
    return takes_body(_later(f"{kind.section}/part", lambda: _part_schema(kind)))


def takes_body(schema: Schema, is_required: bool = True) -> Schema:
    """Return the body of a route's operation, with a schema."""
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def gives(kind: Kind) -> dict[int | str, Schema]:
    """Return the answer of a route: an object of a kind."""
    return {200: _envelope(_result(kind))}


def gives_list(kind: Kind) -> dict[int | str, Schema]:
    """Return the answer of a route: objects of a kind."""
    return {200: _envelope({"type": "array", "items": _result(kind)})}


def gives_result(schema: Schema) -> dict[int | str, Schema]:
    """Return the answer of a route: a result with a schema."""
    return {200: _envelope(schema)}


def gives_results(schema: Schema) -> dict[int | str, Schema]:
    """Return the answer of a route: a list of results with a schema."""
    return {200: _envelope({"type": "array", "items": schema})}


def gives_id() -> dict[int | str, Schema]:
    """Return the answer of a route that deletes an object."""
    return {200: _envelope({"type": "object", "required": ["id"], "properties": {"id": ID}})}


def resolved(node: Any) -> Any:
    """Return a part of the document with references replaced by schemas."""
    if isinstance(node, list):
        return [resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    make = _makers.get(node["$ref"]) if isinstance(node.get("$ref"), str) else None
    return make() if make else {key: resolved(item) for key, item in node.items()}


def _later(name: str, make: Callable[[], Schema]) -> Schema:
    """Return a reference to a schema that is built on demand."""
    reference = f"schemas:{name}"
    _makers[reference] = make
    return {"$ref": reference}


@cache
def body_schema(kind: Kind) -> Schema:
    """Return the JSON Schema of the body that makes an object of a kind."""
    if kind.section in _BODIES:
        return _BODIES[kind.section]
    plain = kind.model.model_json_schema(schema_generator=ModelSchema)
    schema: Schema = _inlined(plain)
    required = _REQUIRED.get(kind.section, ())
    properties = {key: item for key, item in schema["properties"].items() if key not in _OWN}
    if "name" in required:
        properties["name"] = {"type": "string"}
    else:
        properties.pop("name", None)
    schema |= {"properties": properties, "required": list(required)}
    return schema


def _part_schema(kind: Kind) -> Schema:
    return {key: item for key, item in body_schema(kind).items() if key != "required"}


def _result(kind: Kind) -> Schema:
    return _later(f"{kind.section}/result", lambda: _result_schema(kind))


def _result_schema(kind: Kind) -> Schema:
    if kind.section in _RESULTS:
        return _RESULTS[kind.section]
    body = body_schema(kind)
    return body | {
        "properties": body["properties"] | _STAMPS,
        "required": [*_STAMPS, *body.get("required", ())],
        "additionalProperties": True,
    }


def _envelope(result: Schema) -> Schema:
    properties = {
        "success": {"type": "boolean", "const": True},
        "errors": {"type": "array", "maxItems": 0},
        "messages": {"type": "array"},
        "result": result,
        "result_info": {"type": "object"},
    }
    schema = {
        "type": "object",
        "required": ["success", "errors", "messages", "result"],
        "properties": properties,
    }
    return {"description": "It was done.", "content": {"application/json": {"schema": schema}}}


def _inlined(schema: Schema) -> Any:
    """Return a schema with its definitions inserted where they are used, as other documents have other definitions."""
    definitions = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(reference := node.get("$ref"), str):
            return walk(definitions[reference.rpartition("/")[2]])
        return {key: walk(item) for key, item in node.items()}

    return walk(schema)
