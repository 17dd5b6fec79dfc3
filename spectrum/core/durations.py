"""Durations in text form: `50us`, `500ms`, `5s`, `1m30s`, `1h`, or a number of seconds."""

import re

_UNITS_S = {"us": 0.000001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")


def parse_duration_s(value: str | int | float) -> float:
    """Return the duration in seconds.

    Raises:
        ValueError: If it is not a duration; the message quotes it.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value)
        parts = list(_PART.finditer(text))
        if not parts or "".join(part[0] for part in parts) != text:
            raise ValueError(f"{value!r} is not a duration; write 500ms, 5s, 1m30s or 1h")
        seconds = sum(float(part[1]) * _UNITS_S[part[2]] for part in parts)
    if not 0 <= seconds < 10**9:
        raise ValueError(f"{value!r} is not a duration between 0 and 30 years")
    return seconds
