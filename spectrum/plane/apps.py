"""The running form of an app: what decisions on new sessions need, computed once per snapshot."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

from spectrum.core.limits.rules import app_rules, group_of
from spectrum.core.pauses import pause_rules
from spectrum.core.prefixes import PrefixSet
from spectrum.core.records.measures import AppMeasures
from spectrum.core.server_names import ServerNames
from spectrum.core.snapshot import AppSettings, ListenerKey
from spectrum.engine.flow_keeper import Mode
from spectrum.engine.record_form import RecordForm
from spectrum.engine.target import Target
from spectrum.engine.tls import ClientContext, ServerContext
from spectrum.plane.access.firewall import Judge
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.balancing.routes import Route
from spectrum.plane.forms import RecordedSettings, record_form
from spectrum.wire import Transport, simple_proxy
from spectrum.wire.address import paired_bytes
from spectrum.wire.proxy_protocol import v1_line, v2_header

# Client, client port, edge, edge port, TLVs in wire form.
Encoder = Callable[[bytes, int, bytes, int, bytes], bytes]

# The engine counts milliseconds in 32 bits: 49 days.
_MAX_MS = 0xFFFFFFFF


def address_text(address: bytes) -> str:
    """Return an address of 4 or 16 bytes as text."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def _no_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    return b""


# There are few edge addresses, and each is in every header.
_edge_text = lru_cache(maxsize=1024)(address_text)


def _v1_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
    client, edge = paired_bytes(client, edge)
    return v1_line(len(client) == 16, address_text(client), _edge_text(edge), client_port, edge_port)


def _v2_header(client: bytes, client_port: int, edge: bytes, edge_port: int, tlvs: bytes) -> bytes:
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
    """Return how the UDP engine passes the client's address to the app's origins."""
    match settings.proxy_protocol:
        case "simple":
            return _REPLY_MODES[settings.spp_replies]
        case "v2":
            return _HEADER_MODES[settings.header_datagram]
        case _:
            return Mode.PLAIN


def _takes(settings: AppSettings) -> dict[int, PrefixSet]:
    """By port, 0 for any, the prefixes that an app receives by TPROXY or bindings."""
    networks: dict[int, list[IPv4Network | IPv6Network]] = {}
    for prefix, port in (*((prefix, 0) for prefix in settings.tproxy_prefixes), *settings.bindings):
        networks.setdefault(port, []).append(ip_network(prefix))
    return {port: PrefixSet(found) for port, found in networks.items()}


class Terms(NamedTuple):
    """The settings of an app for a session; reloads before the session has an origin do not change them.

    Attributes:
        recorded: The settings for the session's record.
        form: The form by which the engine writes the record, if it needs no further fields.
        encode: Makes the header for its origin.
        tls: The TLS context for its client; None for plain text.
        handshake_timeout_ms: Deadline of the client's TLS handshake.
    """

    recorded: RecordedSettings
    form: RecordForm
    encode: Encoder
    tls: ServerContext | None
    handshake_timeout_ms: int


def _recorded(settings: AppSettings) -> RecordedSettings:
    return RecordedSettings(
        settings.proxy_protocol,
        settings.ip_firewall,
        settings.tls.mode if settings.tls is not None else "off",
        settings.load_balancer,
        settings.origin_name.name if settings.origin_name is not None else "",
    )


class RunningApp:
    """An app in a worker: the settings of the latest snapshot, and the counts since the last report.

    Args:
        slot: The engine's number for the app; it stays the same over reloads.
        settings: The app's settings.
        balancers: Notified of connects to their origins.
    """

    def __init__(self, slot: int, settings: AppSettings, balancers: Balancers) -> None:
        self.slot = slot
        self._balancers = balancers
        self.measures = AppMeasures()
        self.listeners: set[RunningListener] = set()
        # Sessions that are not over, and those of them that have not had an origin yet.
        self.open = 0
        self.dialing = 0
        # Access rules, if the app has `ip_firewall`; of the latest snapshot, as their lists may change independently.
        self.judge: Judge | None = None
        # TLS contexts for clients and origins; None for plain text. Files may change when settings do not.
        self.tls: ServerContext | None = None
        self.origin_tls: ClientContext | None = None
        # The settings for records before the last reload that changed them, with its time (monotonic ns).
        self._recorded_until: list[tuple[int, RecordedSettings]] = []
        # How its flows are treated; None before the first call of `take_manner`.
        self._manner: tuple[object, ...] | None = None
        self.recorded = _recorded(settings)
        self._form = record_form(settings.name, self.recorded)
        self.configure(settings)

    def configure(self, settings: AppSettings) -> None:
        """Use the settings of a new snapshot; existing TCP sessions keep theirs."""
        self.settings = settings
        self._note_recorded(_recorded(settings))
        self.trusted = None if settings.trusted is None else PrefixSet(map(ip_network, settings.trusted))
        self._sent_to = _takes(settings)
        self._ports = range(settings.first_port, settings.last_port + 1)
        self.encode = _ENCODERS[settings.transport, settings.proxy_protocol]
        self.mode = mode_of(settings)
        self.shared = settings.origin_socket == "shared"
        self.header_timeout_ms = round(settings.header_timeout_s * 1000)
        self.handshake_timeout_ms = round(settings.tls.edge.handshake_timeout_s * 1000) if settings.tls else 0
        self.connect_timeout_ms = min(_MAX_MS, max(1, round(settings.connect_timeout_s * 1000)))
        self.group = group_of(settings.name, settings.transport)
        limits = app_rules(settings.limits, settings.name, settings.transport)
        self.rules = (*pause_rules(settings.paused, self.group), *limits)
        self.idle_timeout_ms = min(_MAX_MS, round(settings.idle_timeout_s * 1000))
        # The name of a load balancer contains no space.
        self.queue = settings.load_balancer or f"app {settings.name}"
        self.equip(self.tls, self.origin_tls)

    def equip(self, tls: ServerContext | None, origin_tls: ClientContext | None) -> None:
        """Set the TLS contexts for clients and origins of new sessions."""
        self.tls, self.origin_tls = tls, origin_tls
        self.terms = Terms(self.recorded, self._form, self.encode, tls, self.handshake_timeout_ms)

    def _note_recorded(self, recorded: RecordedSettings) -> None:
        if not self.open:
            self._recorded_until.clear()
        elif recorded != self.recorded:
            self._recorded_until.append((time.monotonic_ns(), self.recorded))
        if recorded != self.recorded:
            self._form = record_form(self.settings.name, recorded)
        self.recorded = recorded

    def recorded_at(self, accepted_ns: int) -> RecordedSettings:
        """Return the settings for the record of a session that was accepted then (monotonic ns), and decided on at
        once.
        """
        for until_ns, recorded in self._recorded_until:
            if accepted_ns < until_ns:
                return recorded
        return self.recorded

    def take_manner(self) -> bool:
        """Return whether the treatment of UDP flows, apart from their origin, changed since the last call."""
        former = self._manner
        self._manner = self.mode, self.encode, self.idle_timeout_ms, self.shared, self.settings.trusted
        return former not in (None, self._manner)

    def is_sent_to(self, edge: bytes, edge_port: int) -> bool:
        """Return whether packets to an address and port are for the app, by TPROXY or a binding."""
        return any(
            edge in prefixes for port in (0, edge_port) if (prefixes := self._sent_to.get(port)) is not None
        ) and (not self.settings.tproxy_port or edge_port in self._ports)

    def is_bound(self, address: bytes, port: int) -> bool:
        """Return whether a binding leads here of which all addresses belong to this machine: one of every address does
        not.
        """
        bindings = self.settings.bindings
        return self.is_sent_to(address, port) and not any(prefix.endswith("/0") for prefix, _ in bindings)

    def take_measures(self) -> AppMeasures:
        """Return the counters since the last call."""
        for listener in self.listeners:
            self.take_connected(listener.route.targets())
        taken, self.measures = self.measures, AppMeasures()
        return taken

    def take_connected(self, targets: Iterable[Target]) -> None:
        """Add the connects to `targets`, and the bytes, that the engine counted."""
        for target in targets:
            from_clients, from_origin = target.take_moved()
            if from_clients or from_origin:
                counted = self.measures.origin(target.name, target.number)
                counted.bytes_from_clients += from_clients
                counted.bytes_from_origin += from_origin
            if connected := target.take_connected():
                self.measures.origin(target.name, target.number).connected += connected
                self.dialing -= connected
                if target.number and self.settings.transport == "tcp":
                    self._balancers.outcomes_of(target.number).connect_succeeded(connected)
            if target.has_spares and any(counts := target.take_spares()):
                self.measures.origin(target.name, target.number).preconnect(counts)


class RunningListener:
    """A listener of an app, and its route to origins.

    Attributes:
        number: The engine's number.
        open: Sessions that are not over.
        removed: It accepts no new sessions.
        descriptor: The socket's; -1 if another listener of the same key has it, and passes sessions on.
        intercepts: Whether it receives packets to any address and port.
        names: If several apps share the key, selects the listener for a client.
    """

    __slots__ = (
        "_former",
        "app",
        "descriptor",
        "intercepts",
        "key",
        "names",
        "number",
        "offset",
        "open",
        "removed",
        "route",
    )

    def __init__(self, app: RunningApp, key: ListenerKey, offset: int, route: Route, descriptor: int = -1) -> None:
        self.app = app
        self.key = key
        self.intercepts = key.transparent
        self.offset = offset
        self.route = route
        self.number = -1
        self.open = 0
        self.removed = False
        self.descriptor = descriptor
        self.names: ServerNames[RunningListener] | None = None
        self._former: Sequence[Target] = ()

    @property
    def holds(self) -> bool:
        """Whether it has the descriptor."""
        return self.descriptor >= 0

    def lead(self, route: Route) -> None:
        """Use another route from the next `aim` on."""
        self._former = self.route.targets()
        self.route = route

    def preconnected(self) -> Iterator[tuple[Target, int, int, int]]:
        """Yield the targets to preconnect, as `Relay.preconnect` takes them."""
        count = self.app.settings.bounds.preconnect
        for target, most in self.route.preconnected() if count else ():
            yield target, count, most, self.app.connect_timeout_ms

    def aim(self, names: Mapping[str, tuple[str, ...]]) -> list[Target]:
        """Apply the app's settings and the current addresses of names; return the targets that are no longer used."""
        gone = [*self._former, *self.route.aim(self.app.settings, names, self.app.origin_tls)]
        self._former = ()
        for target in gone:
            target.close_spares()
        self.app.take_connected(gone)
        return gone
