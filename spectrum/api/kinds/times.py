"""Times in Cloudflare's format."""

from datetime import UTC, datetime


def timestamp(at: float) -> str:
    """Return a time, in seconds since 1970, in RFC 3339: UTC, with microseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
