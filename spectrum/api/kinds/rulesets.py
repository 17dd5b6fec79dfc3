"""Rulesets of DDoS protection: `/accounts/{account}/rulesets`, phase `ddos_l4`.

The managed ruleset is read-only; the rules of the entry point `execute` it with overrides. The file has only the
overrides.
"""

from collections.abc import Callable, Sequence
from typing import Any

from spectrum.api.kinds.kind import Body, Kind, References, Value, given, refuse
from spectrum.api.kinds.times import timestamp
from spectrum.core.configuration.faults import Path
from spectrum.core.ddos.managed import (
    PHASE,
    RULESET_DESCRIPTION,
    RULESET_ID,
    RULESET_NAME,
    RULESET_UPDATED,
    RULESET_VERSION,
    SENSITIVITIES,
    ManagedRule,
)
from spectrum.core.ddos.overrides import OVERRIDE_ACTIONS
from spectrum.core.ddos.ruleset_objects import Ruleset, ref_at, rule_id
from spectrum.store.objects import StoredObject

NO_RULESET, NO_RULE, NO_ENTRYPOINT, INVALID = 10001, 10002, 10003, 20127
# Cloudflare's name of an entry point without one.
DEFAULT_NAME = "default"
_READ_ONLY = frozenset({"id", "version", "last_updated", "kind", "phase"})
_KEYS = frozenset({"name", "description", "rules"})
_RULE_READ_ONLY = frozenset({"id", "version", "last_updated", "categories", "position"})
_RULE_KEYS = frozenset({"ref", "description", "expression", "enabled", "action", "action_parameters"})
_EXECUTE = "execute"


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a ruleset, from a body; its rules have a `ref` each."""
    _check_is_entry_point(body)
    taken = given(body, _READ_ONLY)
    for key in taken.keys() - _KEYS:
        raise refuse(INVALID, f"unknown field: {key}", key)
    rules = taken.get("rules", [])
    if not isinstance(rules, list):
        raise refuse(INVALID, "expected a list of rules", "rules")
    return taken | {"rules": [_rule_value(rule, ("rules", index)) for index, rule in enumerate(rules)]}


def _check_is_entry_point(body: Body) -> None:
    for key, expected in (("kind", "root"), ("phase", PHASE)):
        if body.get(key, expected) != expected:
            raise refuse(INVALID, f"'{body[key]}' is not a valid value for {key}: here it is {expected}", key)


def _rule_value(rule: Any, place: Path) -> Value:
    """Return the value in the file of a rule; `place` is the rule's in the body."""
    if not isinstance(rule, dict):
        raise refuse(INVALID, "expected a rule: an object with action, expression and action_parameters", *place)
    taken = given(rule, _RULE_READ_ONLY)
    for key in taken.keys() - _RULE_KEYS:
        raise refuse(INVALID, f"unknown field: {key}", *place, key)
    if (action := taken.pop("action", None)) != _EXECUTE:
        message = f"'{action or ''}' is not a valid value for action in phase {PHASE}; expected {_EXECUTE}"
        raise refuse(INVALID, message, *place, "action")
    if not isinstance(taken.get("expression"), str):
        raise refuse(INVALID, '"expression" is missing; true is for all attacks', *place, "expression")
    overrides = _overrides(taken.pop("action_parameters", None), (*place, "action_parameters"))
    return taken | ({"overrides": overrides} if overrides else {})


def _overrides(parameters: Any, place: Path) -> Value:
    if not isinstance(parameters, dict) or parameters.get("id") != RULESET_ID:
        raise refuse(INVALID, f"a rule of phase {PHASE} executes the ruleset {RULESET_ID}", *place, "id")
    for key in parameters.keys() - {"id", "version", "overrides"}:
        raise refuse(INVALID, f"unknown field: {key}", *place, key)
    if parameters.get("version", "latest") != "latest":
        raise refuse(INVALID, "managed rules have one version: latest", *place, "version")
    overrides: Value = parameters.get("overrides", {})
    return overrides


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a ruleset."""
    rules = [_rule_body(rule, index) for index, rule in enumerate(value.get("rules", ()))]
    return {key: value[key] for key in ("name", "description") if key in value} | {"rules": rules}


def _rule_body(rule: Value, index: int) -> Value:
    parameters: Value = {"id": RULESET_ID, "version": "latest"}
    if rule.get("overrides"):
        parameters["overrides"] = rule["overrides"]
    return {
        "ref": rule.get("ref") or ref_at(index),
        "action": _EXECUTE,
        "action_parameters": parameters,
        "expression": rule.get("expression", "true"),
        "description": rule.get("description", ""),
        "enabled": rule.get("enabled", True),
    }


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a ruleset as the API answers it."""
    stamps = {"version": version_of(obj), "last_updated": timestamp(obj.modified_on)}
    rules = to_body(obj.value, refs)["rules"]
    return without_rules(obj) | {"rules": [{"id": rule_id(rule["ref"]), **stamps, **rule} for rule in rules]}


def without_rules(obj: StoredObject) -> Value:
    """Return a ruleset in the form of lists."""
    return {
        "id": obj.id,
        "name": api_name(obj),
        "description": obj.value.get("description", ""),
        "kind": "root",
        "phase": PHASE,
        "version": version_of(obj),
        "last_updated": timestamp(obj.modified_on),
    }


def version_of(obj: StoredObject) -> str:
    """Return the version of a ruleset, which grows with each change."""
    return str(max(obj.revision, 1))


def managed_ruleset() -> Value:
    """Return the managed ruleset in the form of lists."""
    return {
        "id": RULESET_ID,
        "name": RULESET_NAME,
        "description": RULESET_DESCRIPTION,
        "kind": "managed",
        "phase": PHASE,
        "version": RULESET_VERSION,
        "last_updated": RULESET_UPDATED,
    }


def managed_rule(rule: ManagedRule) -> Value:
    """Return a managed rule as the API answers it; official clients know only these actions."""
    return {
        "id": rule.id,
        "version": RULESET_VERSION,
        "last_updated": RULESET_UPDATED,
        "ref": rule.ref,
        "description": f"{rule.name}. {rule.description}",
        "categories": list(rule.categories),
        "action": rule.action if rule.action in OVERRIDE_ACTIONS else "ddos_dynamic",
        "allowed_override_actions": list(OVERRIDE_ACTIONS),
        "enabled": True,
        "expression": rule.signature.expression if rule.signature else "true",
        "packets_per_second": {level: rule.threshold(level) for level in SENSITIVITIES},
    }


def with_refs(body: Any, new_ref: Callable[[], str]) -> Any:
    """Return a ruleset's body in which each rule has a reference: without one, its id or a new reference."""
    if not isinstance(body, dict) or not isinstance(body.get("rules"), list):
        return body
    return {**body, "rules": [with_ref(rule, new_ref) for rule in body["rules"]]}


def with_ref(rule: Any, new_ref: Callable[[], str]) -> Any:
    """Return a rule's body with a reference."""
    if not isinstance(rule, dict) or rule.get("ref"):
        return rule
    return {**rule, "ref": str(rule.get("id") or "") or new_ref()}


def moved(rules: Sequence[Value], rule: Value, position: Any) -> list[Value]:
    """Return rules with a rule at a position: `{before: ID}`, `{after: ID}`, `{index: 1}`; None for the end.

    Raises:
        BodyFault: If there is no such position.
    """
    others = [one for one in rules if one["ref"] != rule["ref"]]
    place = _place_at(position, [rule_id(one["ref"]) for one in others])
    return [*others[:place], rule, *others[place:]]


def _place_at(position: Any, ids: Sequence[str]) -> int:
    if position is None:
        return len(ids)
    match position if isinstance(position, dict) and len(position) == 1 else {}:
        case {"index": int(index)} if not isinstance(index, bool) and 1 <= index <= len(ids) + 1:
            return index - 1
        case {"before": ""}:
            return 0
        case {"after": ""}:
            return len(ids)
        case {"before": str(name)} if name in ids:
            return ids.index(name)
        case {"after": str(name)} if name in ids:
            return ids.index(name) + 1
    expected = f"before or after the id of another rule, or an index from 1 to {len(ids) + 1}"
    raise refuse(INVALID, f"expected one of {expected}", "position")


def _place(place: Path, body: Body) -> Path:
    match place:
        case ("rules", index, "overrides", *rest):
            return ("rules", index, "action_parameters", "overrides", *rest)
    return place


def _code(place: Path) -> int:
    return INVALID


def api_name(obj: StoredObject) -> str:
    """Return the name of a ruleset."""
    return str(obj.value.get("name", obj.name))


RULESETS = Kind("rulesets", "ruleset", Ruleset, to_value, to_body, from_value, _place, _code, api_name)
