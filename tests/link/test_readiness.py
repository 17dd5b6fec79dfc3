import asyncio
import socket
from contextlib import suppress

import pytest

from spectrum.link.readiness import readable, writable


async def test_waits_until_there_is_something_to_read():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(readable(ours), 0.01)
        theirs.send(b"x")
        await asyncio.wait_for(readable(ours), 5)


async def test_waits_until_there_is_room():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writable(ours), 0.01)
        with suppress(BlockingIOError):
            while True:
                theirs.recv(65536)
        await asyncio.wait_for(writable(ours), 5)
