"""The example origin of `spectrum origin`: it sends each client what its header said, then echoes."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import cast

from spectrum.origin.datagrams import DatagramClient, ProxiedDatagrams
from spectrum.origin.streams import read_proxy_header
from spectrum.wire.proxy_protocol import V1_PREFIX, V2_SIGNATURE, Header, ProxyHeaderError

# A client that waits for the greeting sends nothing: without a header by then there is none. A real origin never
# guesses (see `read_proxy_header`); this one accepts every kind, to show what the edge sends.
HEADER_WAIT_S = 0.2


def _describe(header: Header | None, peer: str) -> str:
    if header is None:
        return f"you are {peer}; no PROXY header came before you"
    if header.source is None:
        return f"you are {peer}; the PROXY v{header.version} header named nobody"
    told = (
        f"you are {header.source}, told by PROXY v{header.version}; you wrote to {header.destination}; through {peer}"
    )
    return told + "".join(f"; TLV {tlv.type:#04x}={tlv.value!r}" for tlv in header.tlvs)


async def _first_bytes(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(HEADER_WAIT_S):
            return await reader.read(len(V2_SIGNATURE))
    except TimeoutError:
        return b""


async def _header(reader: asyncio.StreamReader) -> tuple[Header | None, bytes]:
    """Return the header, if one begins the stream, and what was read beyond it."""
    first = await _first_bytes(reader)
    if not first or not (V1_PREFIX.startswith(first[:6]) or V2_SIGNATURE.startswith(first)):
        return None, first
    unread = _Unread(first, reader)
    return await read_proxy_header(unread), unread.rest


class _Unread:
    """A stream with bytes that were read already."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader) -> None:
        self.rest = first
        self._reader = reader

    async def readexactly(self, size: int) -> bytes:
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken + await self._reader.readexactly(size - len(taken))


async def _serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, port = writer.get_extra_info("peername")[:2]
    try:
        header, early = await _header(reader)
        writer.write(f"{_describe(header, f'{host}:{port}')}\n".encode() + early)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ProxyHeaderError, TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Sends each client what its header said, of any kind, then echoes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._simple = ProxiedDatagrams(self._answer("Simple Proxy Protocol"))
        self._v2 = ProxiedDatagrams(self._answer("PROXY v2"), header="v2")
        for protocol in (self._simple, self._v2):
            protocol.connection_made(transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for protocol in (self._v2, self._simple):
            dropped = protocol.dropped
            protocol.datagram_received(data, addr)
            if protocol.dropped == dropped:
                return
        self._transport.sendto(f"you are {addr[0]}:{addr[1]}; no header came with you\n".encode() + data, addr)

    @staticmethod
    def _answer(name: str) -> Callable[[bytes, DatagramClient], None]:
        def answer(data: bytes, client: DatagramClient) -> None:
            through = f"you wrote to {client.destination}; through {client.peer[0]}:{client.peer[1]}"
            client.send(f"you are {client.source}, told by {name}; {through}\n".encode() + data)

        return answer


def serve(tcp: Sequence[tuple[str, int]], udp: Sequence[tuple[str, int]]) -> None:
    """Serve on the given addresses until interrupted or terminated.

    Raises:
        OSError: If an address cannot be bound.
    """
    asyncio.run(_run(tcp, udp))


async def _run(tcp: Sequence[tuple[str, int]], udp: Sequence[tuple[str, int]]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, stop.set)
    servers = [await asyncio.start_server(_serve_tcp, *address) for address in tcp]
    endpoints = [await loop.create_datagram_endpoint(_Datagrams, local_addr=address) for address in udp]
    await stop.wait()
    for server in servers:
        server.close()
    for transport, _ in endpoints:
        transport.close()
