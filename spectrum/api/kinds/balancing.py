"""Common parts of load balancers, pools, monitors and monitor groups: checks of fields, and Cloudflare's messages."""

from collections.abc import Collection

from spectrum.api.kinds.kind import STAMPS, Body, Value, given, refuse
from spectrum.core.configuration.faults import Path

INVALID = 1002


def code(place: Path) -> int:
    """Return Cloudflare's code of a fault; all places have the same one."""
    return INVALID


def fields_of(
    body: Body,
    known: Collection[str],
    required: Collection[str] = (),
    read_only: Collection[str] = STAMPS,
    place: tuple[str | int, ...] = (),
) -> Value:
    """Return the fields that a body sets.

    Args:
        body: The body, or a part of it.
        known: Valid fields.
        required: Required fields.
        read_only: Fields of answers, which are ignored.
        place: The place of the part in the body.

    Raises:
        BodyFault: If it has another field, or lacks a required one.
    """
    value = given(body, read_only)
    name = value.get("name")
    if "name" in required and isinstance(name, str) and (not name.isprintable() or not name.strip()):
        raise refuse(
            INVALID, '"name": expected printable characters, more than spaces: validation failed', *place, "name"
        )
    for key in value:
        if key not in known:
            raise refuse(INVALID, f'unknown field "{key}": validation failed', *place, key)
    for key in required:
        if key not in value:
            raise refuse(INVALID, f'"{key}" is missing: validation failed', *place, key)
    return value
