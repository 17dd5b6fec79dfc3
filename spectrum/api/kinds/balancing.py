"""What load balancers, pools, monitors and monitor groups have in common: which fields, and Cloudflare's words."""

from collections.abc import Collection

from spectrum.api.kinds.kind import STAMPS, Body, Value, given, refuse
from spectrum.core.configuration.faults import Path

INVALID = 1002


def code(place: Path) -> int:
    """Return Cloudflare's code of a fault, which is the same at each place."""
    return INVALID


def fields_of(
    body: Body,
    known: Collection[str],
    required: Collection[str] = (),
    read_only: Collection[str] = STAMPS,
    place: tuple[str | int, ...] = (),
) -> Value:
    """Return what a body sets.

    Args:
        body: The body, or a part of it.
        known: The fields that there are.
        required: Those that it must set.
        read_only: Those of answers alone, which are left out.
        place: Where the part stands in the body.

    Raises:
        BodyFault: If it has another field, or lacks one.
    """
    value = given(body, read_only)
    for key in value:
        if key not in known:
            raise refuse(INVALID, f'unknown field "{key}": validation failed', *place, key)
    for key in required:
        if key not in value:
            raise refuse(INVALID, f'"{key}" is missing: validation failed', *place, key)
    return value
