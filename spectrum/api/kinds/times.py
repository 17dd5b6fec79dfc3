"""Times as Cloudflare writes them."""

from datetime import UTC, datetime


def timestamp(at: float) -> str:
    """Return a time, in seconds since 1970, as RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
