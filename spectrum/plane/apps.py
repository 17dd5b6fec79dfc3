"""The running form of an app: what the decision for a new session needs, computed once per snapshot."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_ntop

from spectrum.core.measures import AppMeasures
from spectrum.core.names import name_key
from spectrum.core.prefixes import PrefixSet
from spectrum.core.reasons import Reason
from spectrum.core.selection import Candidate, name_rotations, rotations
from spectrum.core.snapshot import AppSettings, ListenerKey
from spectrum.engine.datagrams import Mode
from spectrum.engine.target import Target
from spectrum.wire import Transport, simple_proxy
from spectrum.wire.proxy_protocol import v1_line, v2_header

# client, client port, edge, edge port, TLVs in wire form
Encoder = Callable[[bytes, int, bytes, int, bytes], bytes]

# The engine counts in 32 bits of milliseconds: 49 days.
_MAX_MS = 0xFFFFFFFF


def address_text(address: bytes) -> str:
    """Return an address of 4 or 16 bytes as text."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def _no_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    return b""


# There are few edge addresses, and each is written into every header.
_edge_text = lru_cache(maxsize=1024)(address_text)


def _v1_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    if len(client) != len(edge):
        return b"PROXY UNKNOWN\r\n"
    return v1_line(len(client) == 16, address_text(client), _edge_text(edge), client_port, edge_port)


def _v2_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    if len(client) != len(edge):  # a front proxy told of a client of the other family: map both into IPv6
        client, edge = (a if len(a) == 16 else bytes(10) + b"\xff\xff" + a for a in (client, edge))
    return v2_header(Transport.STREAM, client, edge, client_port, edge_port, tlvs)


def _v2_datagram(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    return v2_header(Transport.DGRAM, client, edge, client_port, edge_port, tlvs)


def _simple_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    return simple_proxy.pack(client, edge, client_port, edge_port)


_ENCODERS: dict[tuple[str, str], Encoder] = {
    ("tcp", "off"): _no_header,
    ("tcp", "v1"): _v1_header,
    ("tcp", "v2"): _v2_header,
    ("udp", "off"): _no_header,
    ("udp", "v2"): _v2_datagram,
    ("udp", "simple"): _simple_header,
}


_HEADER_MODES = {"first": Mode.FIRST, "standalone": Mode.STANDALONE, "each": Mode.EACH}
_REPLY_MODES = {"strict": Mode.SIMPLE, "lenient": Mode.LENIENT}


def mode_of(settings: AppSettings) -> Mode:
    """Return how the UDP engine tells the app's origins who their client is."""
    match settings.proxy_protocol:
        case "simple":
            return _REPLY_MODES[settings.spp_replies]
        case "v2":
            return _HEADER_MODES[settings.header_datagram]
        case _:
            return Mode.PLAIN


class RunningApp:
    """An app in a worker: settings of the latest snapshot, and what was counted since the last report.

    Args:
        slot: The engine's number for the app; it stays the same over reloads.
        settings: The app's settings.
    """

    def __init__(self, slot: int, settings: AppSettings) -> None:
        self.slot = slot
        self.measures = AppMeasures()
        self.listeners: set[RunningListener] = set()
        # Sessions that are not over, and those of them of which it is not known yet whether they met an origin.
        self.open = 0
        self.dialing = 0
        self.configure(settings)

    def configure(self, settings: AppSettings) -> None:
        """Take the settings of a new snapshot; sessions that exist keep what they began with."""
        self.settings = settings
        self.trusted = None if settings.trusted is None else PrefixSet(map(ip_network, settings.trusted))
        self.encode = _ENCODERS[settings.transport, settings.proxy_protocol]
        self.mode = mode_of(settings)
        self.shared = settings.origin_socket == "shared"
        self.header_timeout_ms = round(settings.header_timeout_s * 1000)
        self.connect_timeout_ms = min(_MAX_MS, max(1, round(settings.connect_timeout_s * 1000)))
        self.idle_timeout_ms = min(_MAX_MS, round(settings.idle_timeout_s * 1000))

    def take_measures(self) -> AppMeasures:
        """Return what was counted since the last call."""
        for listener in self.listeners:
            self.take_connected(listener.targets())
        taken, self.measures = self.measures, AppMeasures()
        return taken

    def take_connected(self, targets: Iterable[Target]) -> None:
        """Count what the engine connected to `targets`."""
        for target in targets:
            if connected := target.take_connected():
                self.measures.origin(target.name).connected += connected
                self.dialing -= connected


class RunningListener:
    """A listener of an app: the engine's targets for its offset in the port range, in every order of trying."""

    __slots__ = ("_options", "_targets", "app", "key", "number", "offset", "open", "orders", "removed", "turn")

    def __init__(self, app: RunningApp, key: ListenerKey, offset: int) -> None:
        self.app = app
        self.key = key
        self.offset = offset
        self.number = -1
        self.open = 0
        self.removed = False
        self.turn = 0
        self.orders: list[tuple[Target, ...]] = []
        self._targets: dict[Candidate, Target] = {}
        self._options: tuple[object, ...] = ()

    def aim(self, names: Mapping[str, tuple[str, ...]]) -> list[Target]:
        """Compute the orders from the app's settings and the addresses of names as known now.

        Returns:
            The targets that are not used any more.
        """
        settings = self.app.settings
        if settings.origin_name is None:
            orders = rotations([(address, port + self.offset) for address, port in settings.origins])
        else:
            addresses = names.get(name_key(settings.origin_name), ())
            orders = name_rotations(addresses, settings.origin_port + self.offset, settings.transport == "tcp")
        options = _target_options(settings)
        known = self._targets if self._options == options else {}
        targets = {c: known.get(c) or _target(settings, c) for order in orders for c in order}
        kept = set(targets.values())
        gone = [target for target in self._targets.values() if target not in kept]
        self.app.take_connected(gone)
        self._options = options
        self.orders = [tuple(targets[candidate] for candidate in order) for order in orders]
        self._targets = targets
        self.turn = 0
        return gone

    def next_order(self) -> tuple[Target, ...] | Reason:
        """Return the targets for a new session, round robin; a reason where there is none."""
        orders = self.orders
        if not orders:
            return Reason.UNRESOLVED if self.app.settings.origin_name else Reason.NO_ORIGIN
        self.turn = turn = (self.turn + 1) % len(orders)
        return orders[turn]

    def target(self, address: str, port: int) -> Target | None:
        """Return the target for an origin's address and port, if this listener leads there."""
        return next((t for t in self._targets.values() if (t.host, t.port) == (address, port)), None)

    def targets(self) -> Sequence[Target]:
        """Return the engine's targets of this listener."""
        return tuple(self._targets.values())


def _target_options(settings: AppSettings) -> tuple[object, ...]:
    """What of the settings an engine target holds."""
    return (
        settings.source_addresses,
        settings.keepalive_idle_s,
        settings.keepalive_interval_s,
        settings.keepalive_count,
        settings.user_timeout_ms,
    )


def _target(settings: AppSettings, candidate: Candidate) -> Target:
    address = ip_address(candidate.address)
    sources = [ip_address(source) for source in settings.source_addresses]
    source = next((s.packed for s in sources if s.version == address.version), None)
    return Target(
        address.packed,
        candidate.port,
        candidate.address,
        staggered=candidate.staggered,
        source=source,
        keepalive=(settings.keepalive_idle_s, settings.keepalive_interval_s, settings.keepalive_count),
        user_timeout_ms=settings.user_timeout_ms,
    )
