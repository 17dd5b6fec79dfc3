"""What Terraform's provider does to an API for one resource: plan, apply, refresh, import, destroy.

It is a model of terraform-plugin-framework and of the provider's marshalling (`apijson`): a create leaves nulls out, an
update sends null for what was taken out, a value that was planned must come back, and a refresh takes over what a field
holds. The fields and defaults are those of the provider's schemas, version 5.22.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUIRED, OPTIONAL, COMPUTED = "required", "optional", "computed"


@dataclass(frozen=True)
class ComputedOptional:
    """A field that the answer fills in where the configuration leaves it out; with a default it is planned."""

    default: Any = None
    fields: "Fields | None" = None


# How a field behaves; a mapping has fields of its own, a list of one mapping has entries of these.
Fields = Mapping[str, Any]
CO = ComputedOptional

APP: Fields = {
    "id": COMPUTED,
    "created_on": COMPUTED,
    "modified_on": COMPUTED,
    "protocol": REQUIRED,
    "dns": {"name": OPTIONAL, "type": OPTIONAL},
    "origin_direct": OPTIONAL,
    "origin_dns": {"name": OPTIONAL, "ttl": OPTIONAL, "type": OPTIONAL},
    "origin_port": OPTIONAL,
    "argo_smart_routing": CO(False),
    "ip_firewall": CO(False),
    "proxy_protocol": CO("off"),
    "tls": CO("off"),
    "traffic_type": CO("direct"),
    "edge_ips": CO(fields={"connectivity": OPTIONAL, "type": OPTIONAL, "ips": CO()}),
}
MONITOR: Fields = {
    "id": COMPUTED,
    "created_on": COMPUTED,
    "modified_on": COMPUTED,
    "description": CO(""),
    "expected_body": CO(""),
    "probe_zone": CO(""),
    "header": OPTIONAL,
    "allow_insecure": CO(False),
    "consecutive_down": CO(0),
    "consecutive_up": CO(0),
    "expected_codes": CO(""),
    "follow_redirects": CO(False),
    "interval": CO(60),
    "method": CO("GET"),
    "path": CO("/"),
    "port": CO(0),
    "retries": CO(2),
    "timeout": CO(5),
    "type": CO("http"),
}
POOL: Fields = {
    "id": COMPUTED,
    "created_on": COMPUTED,
    "modified_on": COMPUTED,
    "disabled_at": COMPUTED,
    "networks": COMPUTED,
    "name": REQUIRED,
    "origins": [
        {
            "address": OPTIONAL,
            "disabled_at": COMPUTED,
            "enabled": CO(True),
            "flatten_cname": CO(True),
            "header": {"Host": OPTIONAL},
            "name": OPTIONAL,
            "port": COMPUTED,
            "virtual_network_id": OPTIONAL,
            "weight": CO(1),
        }
    ],
    "description": OPTIONAL,
    "latitude": OPTIONAL,
    "longitude": OPTIONAL,
    "monitor": OPTIONAL,
    "notification_email": CO(""),
    "check_regions": OPTIONAL,
    "enabled": CO(True),
    "minimum_origins": CO(1),
    "load_shedding": CO(
        {"default_percent": 0, "default_policy": "random", "session_percent": 0, "session_policy": "hash"}
    ),
    "notification_filter": CO(
        fields={
            "origin": CO(fields={"disable": CO(False), "healthy": OPTIONAL}),
            "pool": CO(fields={"disable": CO(False), "healthy": OPTIONAL}),
        }
    ),
    "origin_steering": CO(fields={"policy": CO("random")}),
}
LOAD_BALANCER: Fields = {
    "id": COMPUTED,
    "created_on": COMPUTED,
    "modified_on": COMPUTED,
    "name": REQUIRED,
    "default_pools": REQUIRED,
    "fallback_pool": REQUIRED,
    "description": OPTIONAL,
    "session_affinity_ttl": CO(),
    "ttl": CO(),
    "country_pools": CO({}),
    "pop_pools": CO({}),
    "region_pools": CO({}),
    "networks": OPTIONAL,
    "enabled": CO(True),
    "proxied": CO(False),
    "session_affinity": CO("none"),
    "steering_policy": CO(""),
    "adaptive_routing": CO(fields={"failover_across_pools": CO(False)}),
    "location_strategy": CO(fields={"mode": CO("pop"), "prefer_ecs": CO("proximity")}),
    "random_steering": CO(fields={"default_weight": CO(1), "pool_weights": OPTIONAL}),
    "rules": CO(),
    "session_affinity_attributes": CO(
        fields={
            "drain_duration": CO(),
            "headers": OPTIONAL,
            "require_all_headers": CO(False),
            "samesite": CO("Auto"),
            "secure": CO("Auto"),
            "zero_downtime_failover": CO("none"),
        }
    ),
}
ACCESS_RULE: Fields = {
    "id": COMPUTED,
    "created_on": COMPUTED,
    "modified_on": COMPUTED,
    "mode": REQUIRED,
    "configuration": {"target": OPTIONAL, "value": OPTIONAL},
    "notes": CO(""),
}
LIST: Fields = {
    "id": COMPUTED,
    "created_on": COMPUTED,
    "modified_on": COMPUTED,
    "num_items": COMPUTED,
    "num_referencing_filters": COMPUTED,
    "kind": REQUIRED,
    "name": REQUIRED,
    "description": OPTIONAL,
}


_OVERRIDE: Fields = {"action": OPTIONAL, "enabled": OPTIONAL, "sensitivity_level": OPTIONAL}
RULESET: Fields = {
    "id": COMPUTED,
    "kind": REQUIRED,
    "name": REQUIRED,
    "phase": REQUIRED,
    "description": CO(""),
    "rules": [
        {
            "id": COMPUTED,
            "action": OPTIONAL,
            "action_parameters": {
                "id": OPTIONAL,
                "overrides": _OVERRIDE
                | {
                    "categories": [_OVERRIDE | {"category": REQUIRED}],
                    "rules": [_OVERRIDE | {"id": REQUIRED, "score_threshold": OPTIONAL}],
                },
            },
            "categories": OPTIONAL,
            "description": CO(""),
            "enabled": CO(True),
            "expression": OPTIONAL,
            "logging": OPTIONAL,
            "ref": CO(),
        }
    ],
}


class InconsistentResult(AssertionError):
    """Provider produced inconsistent result after apply."""


def planned(config: Mapping[str, Any], fields: Fields, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a resource is to be: what is configured, defaults, and of computed fields what is known."""
    plan = {}
    for name, kind in fields.items():
        given = config.get(name)
        known = (state or {}).get(name)
        inner = kind.fields if isinstance(kind, CO) else kind
        if given is None:
            if isinstance(kind, CO) and kind.default is not None:
                plan[name] = kind.default
            elif isinstance(kind, CO) or kind == COMPUTED:
                plan[name] = known
            else:
                plan[name] = None
        elif isinstance(inner, Mapping):
            plan[name] = planned(given, inner, known)
        elif isinstance(inner, list):
            states = known if isinstance(known, list) and len(known) == len(given) else [None] * len(given)
            plan[name] = [planned(one, inner[0], of) for one, of in zip(given, states, strict=True)]
        else:
            plan[name] = given
    return plan


def read(answer: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Return the state that a refresh makes of an answer."""
    state = {}
    for name, kind in fields.items():
        inner, held = kind.fields if isinstance(kind, CO) else kind, answer.get(name)
        if held is not None and isinstance(inner, Mapping):
            state[name] = read(held, inner)
        elif held is not None and isinstance(inner, list):
            state[name] = [read(one, inner[0]) for one in held]
        else:
            state[name] = held
    return state


def sent(plan: Any, fields: Any, *, nulls: bool) -> Any:
    """Return the body of a request for a plan: no computed fields; nulls in an update alone."""
    body = {}
    for name, kind in fields.items():
        inner, held = kind.fields if isinstance(kind, CO) else kind, plan[name]
        if kind == COMPUTED or (held is None and not nulls):
            continue
        if held is not None and isinstance(inner, Mapping):
            held = sent(held, inner, nulls=nulls)
        elif held is not None and isinstance(inner, list):
            held = [sent(one, inner[0], nulls=nulls) for one in held]
        body[name] = held
    return body


def differences(plan: Any, state: Any, place: str = "") -> list[str]:
    """Return where a plan differs from a state."""
    if isinstance(plan, dict) and isinstance(state, dict):
        return [one for name in plan for one in differences(plan[name], state.get(name), f"{place}.{name}")]
    if isinstance(plan, list) and isinstance(state, list) and len(plan) == len(state):
        return [
            one for i, both in enumerate(zip(plan, state, strict=True)) for one in differences(*both, f"{place}[{i}]")
        ]
    return [] if plan == state else [f"{place}: {state!r} -> {plan!r}"]


@dataclass
class Resource:
    """A resource of a configuration, and its state.

    Attributes:
        call: Sends a request; returns status and body.
        path: Of the collection.
        fields: Of its schema.
        update: The method of a change.
        state: None until it is created.
    """

    call: Any
    path: str
    fields: Fields
    update: str = "PUT"
    state: dict[str, Any] | None = field(default=None)

    @property
    def id(self) -> str:
        """Its id."""
        assert self.state is not None
        return self.state["id"]

    def plan(self, config: Mapping[str, Any]) -> list[str]:
        """Refresh; return what an apply would change."""
        self.refresh()
        if self.state is None:
            return ["create"]
        return differences(planned(config, self.fields, self.state), self.state)

    def apply(self, config: Mapping[str, Any]) -> None:
        """Create or change it."""
        plan = planned(config, self.fields, self.state)
        if self.state is None:
            status, answer = self.call("POST", self.path, sent(plan, self.fields, nulls=False))
        else:
            status, answer = self.call(self.update, f"{self.path}/{self.id}", sent(plan, self.fields, nulls=True))
        assert status == 200, answer
        after = read(answer["result"], self.fields)
        if lost := _lost(plan, after, self.fields):
            raise InconsistentResult(lost)
        self.state = after

    def refresh(self) -> None:
        """Take over what is there; 404 is nothing."""
        if self.state is not None:
            status, answer = self.call("GET", f"{self.path}/{self.id}")
            assert status in (200, 404), answer
            self.state = read(answer["result"], self.fields) if status == 200 else None

    def imported(self) -> "Resource":
        """Return the resource as an import by its id makes it."""
        fresh = Resource(self.call, self.path, self.fields, self.update, {"id": self.id})
        fresh.refresh()
        return fresh

    def destroy(self) -> None:
        """Delete it."""
        status, answer = self.call("DELETE", f"{self.path}/{self.id}")
        assert status in (200, 204), answer
        assert status == 204 or answer["result"] == {"id": self.id}
        self.refresh()
        assert self.state is None


def _lost(plan: Any, after: Any, fields: Fields, place: str = "") -> list[str]:
    """Return what was planned and is another now; of computed fields nothing was."""
    found = []
    for name, kind in fields.items():
        inner, held, now = kind.fields if isinstance(kind, CO) else kind, plan[name], after.get(name)
        if kind == COMPUTED or (isinstance(kind, CO) and held is None):
            continue
        if isinstance(inner, Mapping) and held is not None and now is not None:
            found += _lost(held, now, inner, f"{place}.{name}")
        elif isinstance(inner, list) and held is not None and now is not None and len(held) == len(now):
            for i, (one, other) in enumerate(zip(held, now, strict=True)):
                found += _lost(one, other, inner[0], f"{place}.{name}[{i}]")
        elif held != now:
            found.append(f"{place}.{name}: planned {held!r}, now {now!r}")
    return found
