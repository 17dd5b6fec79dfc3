"""Origins in every state, for probes: on this machine, in this process."""

import asyncio
import socket
from contextlib import asynccontextmanager

from spectrum.core.balancing.objects import Monitor
from spectrum.probes.target import ProbeTarget


def target(port=0, address="127.0.0.1", host="", name="", header="off", **monitor):
    return ProbeTarget(Monitor.model_validate({"timeout": 1, **monitor}), address, port, host, name, header)


@asynccontextmanager
async def serving(handle, **options):
    """A TCP server on a free port; `handle` gets reader and writer, which is closed after it."""

    async def connected(reader, writer):
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    async with server:
        yield server.sockets[0].getsockname()[1]


def closed_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def silent(reader, writer):
    """Accepts and says nothing."""
    await reader.read()


def saying(*words, keep=False):
    """A handler that says `words`, whatever it hears, one after each read."""

    async def handle(reader, writer):
        for word in words:
            writer.write(word)
            await reader.read(4096)
        if keep:
            await reader.read()

    return handle


def http_answer(status="200 OK", body=b"fine", headers=()):
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body
