"""Wait until a non-blocking socket is readable or writable."""

import asyncio
import socket
from collections.abc import Callable


async def readable(sock: socket.socket) -> None:
    """Wait until a socket is readable."""
    loop = asyncio.get_running_loop()
    await _ready(sock, loop.add_reader, loop.remove_reader)


async def writable(sock: socket.socket) -> None:
    """Wait until a socket is writable."""
    loop = asyncio.get_running_loop()
    await _ready(sock, loop.add_writer, loop.remove_writer)


async def _ready(sock: socket.socket, add: Callable[..., None], remove: Callable[[int], object]) -> None:
    ready, descriptor = asyncio.Event(), sock.fileno()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
