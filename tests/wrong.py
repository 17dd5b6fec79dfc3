"""Values of every shape, for places in files and requests where nobody expects them."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

# JSON and YAML have these; YAML has further ones.
ANYTHING: tuple[Any, ...] = (
    *("", "\0", "x y", "²", "1²", "tcp/²", "192.0.2.1/²", "::", "1s", "9" * 400, "a" * 300, "é", "%", "2030-01-01"),
    *(None, True, False, -1, 5, 10**30, 1.5),
    *([], [1], [None], [[]], [{}], [""], {}, {"a": 1}, {"a": []}, {"": {}}, {"type": []}, {"type": {}}),
    *({"type": "dynamic", "connectivity": []}, {"type": "static", "ips": {}}, {"name": []}),
)
ANYTHING_IN_YAML = (*ANYTHING, float("nan"), float("inf"), -float("inf"))

Place = tuple[str | int, ...]


def places(node: Any, above: Place = ()) -> Iterator[Place]:
    """Return the places of all values within one."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*above, key)
        yield from places(value, (*above, key))


def replaced(node: Any, place: Place, value: Any) -> Any:
    """Return a copy with another value at a place."""
    made = within = deepcopy(node)
    for part in place[:-1]:
        within = within[part]
    within[place[-1]] = value
    return made
