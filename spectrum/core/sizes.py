"""Amounts of memory in text form: `512KiB`, `64MiB`, `1GB`, or a number of bytes."""

import re

_UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|kB|KB|MB|GB|KiB|MiB|GiB)")
MAX_BYTES = 2**50


def parse_size(value: str | int) -> int:
    """Return the size in bytes.

    Raises:
        ValueError: If it is not a size; the message quotes it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        found = _SIZE.fullmatch(str(value))
        if found is None:
            raise ValueError(f"{value!r} is not a size; write 512KiB, 64MiB or 1GB")
        size = round(float(found[1]) * _UNITS[found[2]])
    if not 0 <= size <= MAX_BYTES:
        raise ValueError(f"{value!r} is not a size between 0 and a million GiB")
    return size
