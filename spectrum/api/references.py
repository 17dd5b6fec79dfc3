"""The keys of an object that name another object."""

from collections.abc import Iterator, Mapping
from typing import Any

# By section: the places of names, and the section of the objects named. `*` is every entry of a list, or every value
# of a mapping; `@` is every key of a mapping.
REFERENCES: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "apps": (
        (("load_balancer",), "load_balancers"),
        (("edge_tls", "certificates", "*"), "certificates"),
        (("origin_tls", "certificate"), "certificates"),
    ),
    "load_balancers": (
        (("default_pools", "*"), "pools"),
        (("fallback_pool",), "pools"),
        (("region_pools", "*", "*"), "pools"),
        (("country_pools", "*", "*"), "pools"),
        (("pop_pools", "*", "*"), "pools"),
        (("random_steering", "pool_weights", "@"), "pools"),
    ),
    "pools": ((("monitor",), "monitors"), (("monitor_group",), "monitor_groups")),
    "monitor_groups": ((("members", "*", "monitor"), "monitors"),),
    "access_rules": ((("list",), "lists"), (("apps", "*"), "apps")),
    "zones": ((("account",), "accounts"),),
}


def references(section: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the section and name of each object that an object refers to; a name may come more than once."""
    for path, of in REFERENCES.get(section, ()):
        yield from ((of, name) for name in _at(value, path))
    for key, of in (("zone", "zones"), ("account", "accounts")):
        if section != "zones" and isinstance(name := value.get(key), str):
            yield of, name


def _at(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if not path:
        if isinstance(value, str):
            yield value
        return
    part, *rest = path
    match value:
        case dict() if part == "@":
            yield from value
        case dict() if part == "*":
            for one in value.values():
                yield from _at(one, tuple(rest))
        case list() | tuple() if part == "*":
            for one in value:
                yield from _at(one, tuple(rest))
        case dict() if part in value:
            yield from _at(value[part], tuple(rest))
