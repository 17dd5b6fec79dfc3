"""Messages with a possibly long body, which is then sent as a memory file: a packet of a channel has 96 KiB."""

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Protocol, cast

from msgspec.structs import replace

from spectrum.kernel.descriptors import close_all, memory_file
from spectrum.link.channel import Channel

MAX_INLINE_BYTES = 64 * 1024
# The status of 10,000 apps has 6 MB, their objects 4.
MAX_BODY_BYTES = 256 * 2**20


class WithBody(Protocol):
    """The fields of messages with a body: the body, or its size if it is in a memory file."""

    body: bytes
    size: int


def send(channel: Channel[Any], message: WithBody, files: Sequence[int] = ()) -> bool:
    """Send a message with a possibly long body, and descriptors; return False if the other end has closed.

    Raises:
        OSError: If there is no room for it.
    """
    if len(message.body) <= MAX_INLINE_BYTES:
        return channel.send(message, files)
    with ExitStack() as opened:
        file = memory_file("body", message.body)
        opened.callback(os.close, file)
        return channel.send(replace(cast(Any, message), body=b"", size=len(message.body)), [file, *files])


def body_of(message: WithBody, descriptors: Sequence[int]) -> bytes:
    """Return the body of a message, and close the message's descriptors.

    Raises:
        ValueError: If the body does not fit the message.
    """
    try:
        if not message.size:
            return message.body
        if len(descriptors) != 1 or message.size > MAX_BODY_BYTES:
            raise ValueError(f"a body of {message.size} bytes, with {len(descriptors)} descriptors")
        found = os.fstat(descriptors[0])
        if not stat.S_ISREG(found.st_mode) or found.st_size != message.size:  # reading a pipe could block
            raise ValueError(f"a body of {message.size} bytes that is not in its file")
        return _read(descriptors[0], message.size)
    finally:
        close_all(descriptors)


def _read(descriptor: int, size: int) -> bytes:
    parts, read = [], 0
    while read < size:
        part = os.pread(descriptor, size - read, read)
        if not part:
            raise ValueError("a body that became shorter")
        parts.append(part)
        read += len(part)
    return b"".join(parts)
