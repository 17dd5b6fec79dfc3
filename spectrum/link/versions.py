"""Compatibility of versions of Spectrum: each end of a link first sends its version.

It is the version of the messages that cross versions: `takeover`, `succession` and `flow_sockets`. It is incremented if
an older version would misread a message; fields and messages that older ones ignore need no new version.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = 2
# The oldest version that this code understands.
OLDEST = 1


class Hello(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """The first message of each end of a channel.

    Attributes:
        version: The sender's version.
        oldest: The oldest version that it understands.
    """

    version: int = VERSION
    oldest: int = OLDEST


# Of a process that sends no hello.
BEFORE_HELLO = Hello(1, 1)


def mismatch(peer: Hello, own: Hello | None = None) -> str:
    """Return why two processes cannot communicate, "" if they can; both come to the same result."""
    own = own or Hello()
    if peer.version >= own.oldest and own.version >= peer.oldest:
        return ""
    return f"the other process speaks {_spoken(peer)} of the link, and this one {_spoken(own)}"


def _spoken(hello: Hello) -> str:
    return f"version {hello.version}" + (f" (down to {hello.oldest})" if hello.oldest < hello.version else "")


def in_json(hello: Hello) -> dict[str, int]:
    """Return a hello as the keys of a JSON message."""
    return {"version": hello.version, "oldest": hello.oldest}


def from_json(message: Mapping[str, Any]) -> Hello:
    """Return the hello in a JSON message, `BEFORE_HELLO` without one.

    Raises:
        ValueError: If its versions are not numbers.
    """
    if "version" not in message:
        return BEFORE_HELLO
    return msgspec.convert([Hello.__name__, message["version"], message.get("oldest")], Hello)
