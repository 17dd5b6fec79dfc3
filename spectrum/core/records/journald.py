"""Entries of systemd's journal, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

import re
from collections.abc import Mapping
from typing import Any

from spectrum.core.records.formats import plain
from spectrum.core.records.syslog import severity_of

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def entry(fields: Mapping[str, Any], selected: Mapping[str, Any], text: bytes, identifier: str) -> bytes:
    """Return a record as an entry.

    Args:
        fields: All of its fields.
        selected: The fields of the entry: `ClientIP` is SPECTRUM_CLIENT_IP.
        text: The entry's MESSAGE.
        identifier: Its SYSLOG_IDENTIFIER.
    """
    head = {"MESSAGE": text, "PRIORITY": b"%d" % severity_of(fields), "SYSLOG_IDENTIFIER": identifier.encode()}
    told = {f"SPECTRUM_{_WORD_START.sub('_', name).upper()}": plain(value).encode() for name, value in selected.items()}
    return b"".join(_field(name.encode(), value) for name, value in {**head, **told}.items())


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name + b"=" + value + b"\n"
