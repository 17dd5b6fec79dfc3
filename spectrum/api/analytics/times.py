"""Times in questions."""

from datetime import UTC, datetime
from typing import Any

# What a range is where it says nothing: Cloudflare's.
DEFAULT_RANGE_S = 6 * 3600.0
# The years 1970 to 2200: what both stores have.
LATEST = 7_258_118_400.0


def instant(given: Any) -> float:
    """Return a time in seconds since 1970: RFC 3339, UTC unless it says otherwise, or such a number.

    Raises:
        ValueError: If it is none.
    """
    found = _seconds(given)
    if found is None or not 0 <= found <= LATEST:
        raise ValueError(
            f"{given!r} is not a time: write RFC 3339, such as 2026-11-26T14:00:00Z, or seconds since 1970"
        )
    return found


def _seconds(given: Any) -> float | None:
    if isinstance(given, bool):
        return None
    try:
        if isinstance(given, int | float):
            return float(given)
        if not isinstance(given, str):
            return None
        if (given.replace(".", "", 1).isdecimal() and "." in given) or (given.isdecimal() and len(given) > 8):
            return float(given)
        # In a URL, + is a space.
        parsed = datetime.fromisoformat(given[:19] + given[19:].replace(" ", "+"))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
