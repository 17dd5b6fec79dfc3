"""An echo server on 127.0.0.1: `python -m spectrum.simulation.echo tcp/7000 udp/7000 ...`."""

import asyncio
import socket
import sys
from typing import cast

HOST = "127.0.0.1"
QUEUE = 4096
# asyncio accepts up to `backlog` connections in a turn, before it serves any.
ACCEPTED_AT_ONCE = 32


class _EchoStream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def _serve_streams(port: int) -> asyncio.Server:
    """Echo streams. Connections that are there do not wait for those that come, as with other origins."""
    listener = socket.create_server((HOST, port))
    server = await asyncio.get_running_loop().create_server(_EchoStream, sock=listener, backlog=ACCEPTED_AT_ONCE)
    listener.listen(QUEUE)
    return server


async def serve(addresses: list[str]) -> None:
    """Serve at addresses such as tcp/7000, until cancelled."""
    loop = asyncio.get_running_loop()
    opened: list[asyncio.Server | asyncio.DatagramTransport] = []
    try:
        for one in addresses:
            transport, _, port = one.partition("/")
            if transport == "tcp":
                opened.append(await _serve_streams(int(port)))
            else:
                flow, _ = await loop.create_datagram_endpoint(_EchoDatagrams, (HOST, int(port)))
                opened.append(flow)
        await asyncio.Event().wait()
    finally:
        for some in opened:
            some.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
