"""Read the client of datagrams that come through the edge, in an asyncio program.

    def answer(data, client):
        client.send(b"hello, " + str(client.source).encode())

    await loop.create_datagram_endpoint(lambda: ProxiedDatagrams(answer), local_addr=("0.0.0.0", 9000))

Use it only if every datagram comes from the edge, or name the edge's addresses as `trusted`: a host that can send
directly could claim any address.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Literal, cast

from spectrum.wire import simple_proxy
from spectrum.wire.address import unmapped, unmapped_network
from spectrum.wire.proxy_protocol import V2_SIGNATURE, Endpoint, ProxyHeaderError, parse

Peer = tuple[str, int]


@dataclass(frozen=True, slots=True)
class DatagramClient:
    """The client of a datagram.

    Attributes:
        source: The client's address and port; None if a PROXY header named none.
        destination: The address and port of the edge that the client sent to; None likewise.
        peer: The edge's own address and port, from which the datagram came.
    """

    source: Endpoint | None
    destination: Endpoint | None
    peer: Peer
    _header: bytes
    _transport: asyncio.DatagramTransport

    def send(self, data: bytes) -> None:
        """Send a reply, with a Simple Proxy header if the edge sent one."""
        self._transport.sendto(self._header + data, self.peer)


class HeaderCache:
    """The clients of flows by their PROXY headers, for datagrams without one.

    Args:
        max_flows: The limit of flows; beyond it the least recently used one is forgotten.
        idle_s: The idle time after which a flow is forgotten: the edge, whose flows end sooner, may reuse its port.
    """

    def __init__(self, max_flows: int, idle_s: float) -> None:
        self._max_flows = max_flows
        self._idle_s = idle_s
        self._known: OrderedDict[Peer, tuple[float, Endpoint | None, Endpoint | None]] = OrderedDict()

    def remember(self, peer: Peer, source: Endpoint | None, destination: Endpoint | None, now: float) -> None:
        """Store a header."""
        self._known[peer] = (now, source, destination)
        self._known.move_to_end(peer)
        if len(self._known) > self._max_flows:
            self._known.popitem(last=False)

    def recall(self, peer: Peer, now: float) -> tuple[Endpoint | None, Endpoint | None] | None:
        """Return (source, destination) of a flow; None without a header, or without a recent one."""
        known = self._known.get(peer)
        if known is None or now - known[0] > self._idle_s:
            return None
        self.remember(peer, known[1], known[2], now)
        return known[1], known[2]


class ProxiedDatagrams(asyncio.DatagramProtocol):
    """A datagram protocol that reads the edge's headers and calls `received(data, client)` with the payload.

    Args:
        received: Called with each datagram's payload and its client.
        header: "simple" for Simple Proxy Protocol; "v2" for PROXY protocol v2 in any of its three dialects: before each
            datagram, before a flow's first one, or as a datagram of its own.
        trusted: The edge's addresses; None trusts every sender.
        max_flows: For "v2": the limit of flows.
        idle_s: For "v2": the idle time after which a flow is forgotten; more than the edge's own idle timeout.

    Attributes:
        dropped: Datagrams without a valid header, or from an untrusted sender.
    """

    def __init__(
        self,
        received: Callable[[bytes, DatagramClient], None],
        header: Literal["simple", "v2"] = "simple",
        trusted: Iterable[IPv4Network | IPv6Network] | None = None,
        max_flows: int = 100_000,
        idle_s: float = 60.0,
    ) -> None:
        self.dropped = 0
        self._received = received
        self._take = self._take_simple if header == "simple" else self._take_v2
        self._trusted = None if trusted is None else tuple(map(unmapped_network, trusted))
        self._cache = HeaderCache(max_flows, idle_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for replies."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._loop = asyncio.get_running_loop()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Read the header and pass on the payload; a datagram without one is counted and dropped."""
        peer = (addr[0], addr[1])
        try:
            if self._trusted is not None:
                address = unmapped(ip_address(peer[0]))
                if not any(address in network for network in self._trusted):
                    raise ProxyHeaderError("not trusted")
            self._take(data, peer)
        except (ProxyHeaderError, simple_proxy.SimpleProxyError):
            self.dropped += 1

    def _take_simple(self, data: bytes, peer: Peer) -> None:
        header = simple_proxy.parse(data)
        source = Endpoint(header.client_address, header.client_port)
        destination = Endpoint(header.proxy_address, header.proxy_port)
        size = simple_proxy.HEADER_BYTES
        self._received(data[size:], DatagramClient(source, destination, peer, data[:size], self._transport))

    def _take_v2(self, data: bytes, peer: Peer) -> None:
        now = self._loop.time()
        if data.startswith(V2_SIGNATURE):
            parsed = parse(data)
            if parsed is None:
                raise ProxyHeaderError("the datagram ends before its header does")
            header, size = parsed
            self._cache.remember(peer, header.source, header.destination, now)
            if size == len(data):
                # A header without payload. With a header before each, an empty datagram looks the same, and is lost.
                return
            data = data[size:]
        known = self._cache.recall(peer, now)
        if known is None:
            raise ProxyHeaderError("no header came before it")
        self._received(data, DatagramClient(*known, peer, b"", self._transport))
