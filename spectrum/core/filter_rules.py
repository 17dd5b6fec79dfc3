"""Rules of the filter, and which packets they match: a model of the kernel's program in Python.

The program (`kernel/bpf/slots.h`) is tested against `matches`, over random rules and packets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from spectrum.core.packets import PROTOCOLS, TCP_FLAGS
from spectrum.wire.address import IPAddress

Range = tuple[int, int]
Action = Literal["block", "log", "limit", "source-limit", "cookie", "retry"]
ACTIONS: tuple[Action, ...] = ("block", "log", "limit", "source-limit", "cookie", "retry")
# The actions that need `packets_per_second`.
LIMITS: tuple[Action, ...] = ("limit", "source-limit")
SetField = Literal["source/24", "source", "payload[:2]", "options", "ttl"]
SET_FIELDS: tuple[SetField, ...] = ("source/24", "source", "payload[:2]", "options", "ttl")
MAX_SETS = 2
MAX_SET_VALUES = 4096
FRAGMENTS: Mapping[bool | str | None, tuple[int, ...]] = {
    None: (0, 1, 2),
    False: (0,),
    True: (1, 2),
    "first": (1,),
    "later": (2,),
}
ANY_OCTET, ANY_NUMBER = (0, 255), (0, 65535)
IDLE_BELOW = 2
# TCP packets that open a connection have SYN and not ACK.
SYN, SYN_MASK = TCP_FLAGS["syn"], TCP_FLAGS["syn"] | TCP_FLAGS["ack"]
_MAPPED, _SIX = 0xFFFF << 32, 1 << 63


@dataclass(frozen=True, slots=True)
class SetTerm:
    """A field has one of some values, or none of them.

    Attributes:
        field: The field. Prefixes and addresses of sources are numbers as in `core/ddos/packets.py`: of IPv4 the /24
            and the address, of IPv6 the /48 and the /64.
        values: 4,096 at most.
        negated: None of them.
    """

    field: SetField
    values: frozenset[int]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class FilterRule:
    """A rule: conditions on packets, and an action. Ranges are inclusive; a field that a packet does not have is 0.

    Attributes:
        source: The source prefix; None for any.
        destination: The destination prefix, likewise.
        protocol: IP protocol numbers.
        source_port: Of TCP and UDP; None for packets without ports, too.
        destination_port: Likewise.
        length: Of the IP packet, in bytes.
        ttl: Time to live, or hop limit.
        tcp_flags: (those that are looked at, those of them that are set), as in the byte of the TCP header.
        fragment: Only fragments, or only packets that are none, or first or later ones; None for all.
        packets_per_second: The rate that passes: of all together for `limit`, of each source for `source-limit`.
        version: Of IP; None for both.
        window: Of the TCP header, as it is there.
        ident: The identification of an IPv4 packet.
        options: The hash of TCP options, as `Packets` has it.
        payload: (the first 8 bytes of the payload, the bits that are looked at); shorter ones have zeros behind them.
        idle: Only packets that belong to no flow in use. This, `known` and `served` never match without attack
            detection, as flows are unknown then.
        known: Whether their source recently had a flow in use; None for both.
        served: Whether an app listens on their destination; None for both.
        sets: Two at most.
        action: The action. `log` counts, and continues with the next rules. `cookie` is for SYNs. `retry` drops the
            first packet, and passes a retransmission.
        expires_ns: When it expires, on the monotonic clock; 0 for never.
        sequence: The sequence number; None for any. This and the next match only packets of TCP.
        acknowledgement: The acknowledgement number, as it is in the header, with or without the flag ACK.
    """

    source: IPv4Network | IPv6Network | None = None
    destination: IPv4Network | IPv6Network | None = None
    protocol: Range = ANY_OCTET
    source_port: Range | None = None
    destination_port: Range | None = None
    length: Range = ANY_NUMBER
    ttl: Range = ANY_OCTET
    tcp_flags: tuple[int, int] | None = None
    fragment: bool | Literal["first", "later"] | None = None
    packets_per_second: int = 0
    version: int | None = None
    window: Range | None = None
    ident: Range | None = None
    options: int | None = None
    payload: tuple[int, int] | None = None
    idle: bool = False
    known: bool | None = None
    served: bool | None = None
    sets: tuple[SetTerm, ...] = ()
    action: Action = "block"
    expires_ns: int = 0
    sequence: int | None = None
    acknowledgement: int | None = None

    def __post_init__(self) -> None:
        """Refuse what the program cannot do.

        Raises:
            ValueError: With the reason.
        """
        if self.action in LIMITS and not self.packets_per_second:
            raise ValueError(f"{self.action} without packets_per_second")
        if self.packets_per_second and self.action not in LIMITS:
            raise ValueError(f"packets_per_second is for {' and '.join(LIMITS)}, not for {self.action}")
        mask, flags = self.tcp_flags or (0, 0)
        if self.action == "cookie" and (flags ^ SYN) & mask & SYN_MASK:
            raise ValueError("cookies are for SYNs, and the rule has other flags")
        if self.has_sequence and not _within(PROTOCOLS["tcp"], self.protocol):
            raise ValueError("sequence numbers exist in TCP, and the rule is for other protocols")
        if len(self.sets) > MAX_SETS or any(len(one.values) > MAX_SET_VALUES for one in self.sets):
            raise ValueError(f"a rule has {MAX_SETS} sets at most, of {MAX_SET_VALUES} values each")

    @property
    def needs_flows(self) -> bool:
        """Whether it has conditions on flows, which are known only while attack detection runs."""
        return self.idle or self.known is not None or self.served is not None

    @property
    def has_sequence(self) -> bool:
        """Whether it has a condition on a sequence or acknowledgement number."""
        return self.sequence is not None or self.acknowledgement is not None


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """The facts about a packet, as in struct facts of the program; 0 for fields that it does not have.

    Attributes:
        source: Its addresses, both of one version.
        destination: Likewise.
        ports: Source and destination port; None for packets without.
        fragment: 0 for a whole packet, 1 for a first fragment, 2 for a later one.
        flow: 0 for none or a new one, 1 with its handshake complete, 2 in use; None if flows are not tracked.
    """

    source: IPAddress
    destination: IPAddress
    protocol: int = 17
    ports: tuple[int, int] | None = None
    length: int = 0
    ttl: int = 0
    tcp_flags: int = 0
    fragment: int = 0
    window: int = 0
    ident: int = 0
    options: int = 0
    payload: int = 0
    flow: int | None = None
    known: bool = False
    served: bool = False
    sequence: int = 0
    acknowledgement: int = 0


def set_key(field: SetField, packet: PacketFacts) -> int:
    """Return the value of a packet that a set compares."""
    address = int(packet.source)
    match field:
        case "source/24" if packet.source.version == 4:
            return (_MAPPED | address) >> 8
        case "source/24":
            return address >> 80 | _SIX
        case "source" if packet.source.version == 4:
            return _MAPPED | address
        case "source":
            return address >> 64 | _SIX
        case "payload[:2]":
            return packet.payload >> 48
        case "options":
            return packet.options
        case "ttl":
            return packet.ttl


def matches(rule: FilterRule, packet: PacketFacts) -> bool:
    """Return whether a rule matches a packet."""
    return (
        _is_where(rule, packet)
        and _has(rule, packet)
        and _is_of_flow(rule, packet)
        and all((set_key(one.field, packet) in one.values) != one.negated for one in rule.sets)
        and (
            rule.action != "cookie"
            or (packet.protocol == PROTOCOLS["tcp"] and packet.ports is not None and is_syn(packet))
        )
    )


def is_syn(packet: PacketFacts) -> bool:
    """Return whether a TCP packet opens a connection."""
    return packet.tcp_flags & SYN_MASK == SYN


def _is_where(rule: FilterRule, packet: PacketFacts) -> bool:
    wanted = rule.source_port, rule.destination_port
    return (
        rule.version in (None, packet.source.version)
        and (rule.source is None or packet.source in rule.source)
        and (rule.destination is None or packet.destination in rule.destination)
        and all(
            one is None or (packet.ports is not None and _within(port, one))
            for port, one in zip(packet.ports or (0, 0), wanted, strict=True)
        )
    )


def _has(rule: FilterRule, packet: PacketFacts) -> bool:
    mask, flags = rule.tcp_flags or (0, 0)
    payload, payload_mask = rule.payload or (0, 0)
    return (
        _within(packet.protocol, rule.protocol)
        and _within(packet.length, rule.length)
        and _within(packet.ttl, rule.ttl)
        and _within(packet.window, rule.window or ANY_NUMBER)
        and _within(packet.ident, rule.ident or ANY_NUMBER)
        and (not mask or packet.ports is not None)
        and packet.tcp_flags & mask == flags & mask
        and packet.fragment in FRAGMENTS[rule.fragment]
        and rule.options in (None, packet.options)
        and packet.payload & payload_mask == payload & payload_mask
        and (not rule.has_sequence or (packet.protocol == PROTOCOLS["tcp"] and packet.ports is not None))
        and rule.sequence in (None, packet.sequence)
        and rule.acknowledgement in (None, packet.acknowledgement)
    )


def _is_of_flow(rule: FilterRule, packet: PacketFacts) -> bool:
    if packet.flow is None:
        return not rule.needs_flows
    return (
        (not rule.idle or packet.flow < IDLE_BELOW)
        and rule.known in (None, packet.known)
        and rule.served in (None, packet.served)
    )


def _within(number: int, ends: Range) -> bool:
    return ends[0] <= number <= ends[1]


def judged(
    rules: Iterable[tuple[str, FilterRule]], packet: PacketFacts, now_ns: int = 0
) -> tuple[str | None, list[str]]:
    """Return the first rule that drops a packet, and those that counted it before, by name; limits are treated as 0."""
    logged: list[str] = []
    for name, rule in rules:
        if (rule.expires_ns and rule.expires_ns <= now_ns) or not matches(rule, packet):
            continue
        if rule.action != "log":
            return name, logged
        logged.append(name)
    return None, logged
