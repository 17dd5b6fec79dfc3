"""The managed ruleset: a rule for each kind of attack, with its signature and threshold.

Detection finds the common properties of an attack's packets, and writes a rule of the filter for exactly these. The
managed rule that it is an instance of defines a name, a threshold by sensitivity, and an action, which overrides
change. It is the first rule, in the order of the table, that matches the attack.

Ids and references never change. Ids are Cloudflare's where those are public, so that overrides written for Cloudflare
have the same meaning here.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spectrum.core.packets import PROTOCOLS, TCP_FLAGS

# Cloudflare's id of the ruleset.
RULESET_ID = "3b64149bfa6e4220bbbc2bd6db589552"
RULESET_NAME = "Spectrum L3/4 DDoS Ruleset"
RULESET_DESCRIPTION = (
    "Kinds of attacks at the network layer. Overrides change the sensitivity and the action of all of them, of those "
    "with a tag, or of single ones."
)
# Incremented with each change of a rule.
RULESET_VERSION, RULESET_UPDATED = "1", "2026-11-26T00:00:00Z"
PHASE = "ddos_l4"

Sensitivity = Literal["default", "medium", "low", "eoff"]
SENSITIVITIES: tuple[Sensitivity, ...] = ("default", "medium", "low", "eoff")
# Actions: dynamic (drop what no client sends, otherwise limit, or require cookies or retransmissions); block; log,
# which counts and passes; limit, to twice the normal rate where dynamic would drop.
ManagedAction = Literal["ddos_dynamic", "block", "log", "rate-limit"]
# The factor of the default threshold.
_FACTORS: Mapping[Sensitivity, int] = {"default": 1, "medium": 3, "low": 8, "eoff": 40}
_LEAST, _LEAST_GENERIC = 2_000, 5_000
_ID_DIGITS = 32

Range = tuple[int, int]
_TCP, _UDP, _ICMP, _GRE, _ESP, _ICMP6, _SCTP = (
    PROTOCOLS[name] for name in ("tcp", "udp", "icmp", "gre", "esp", "icmpv6", "sctp")
)
_ALL_FLAGS = 0x3F
# Fields of expressions, by flag.
FLAG_FIELDS: Mapping[str, int] = {
    "tcp.flags.syn": TCP_FLAGS["syn"],
    "tcp.flags.ack": TCP_FLAGS["ack"],
    "tcp.flags.push": TCP_FLAGS["psh"],
    "tcp.flags.reset": TCP_FLAGS["rst"],
    "tcp.flags.fin": TCP_FLAGS["fin"],
    "tcp.flags.urg": TCP_FLAGS["urg"],
}


@dataclass(frozen=True, slots=True)
class Signature:
    """The common properties of an attack's packets; an attribute that is left out matches any.

    Attributes:
        protocols: IP protocols, by number.
        version: The IP version.
        source_ports: Ranges.
        destination_ports: Ranges.
        tcp_flags: A mask of flags, and those of them that are set.
        lengths: Of the packet, from and to.
        windows: Of TCP, one of these.
        idents: Of IPv4, one of these.
        options: Whether TCP has options.
        payloads: The begin of the payload, one of these; at most 8 bytes.
        fragment: Whether it is a fragment.
        served: Whether an app listens on the destination.
        destinations: The least number of destinations, none of which gets half.
        shaken: The least share in connections with a complete handshake and nothing more.
        pulses: How often, at least, the attack came, ended and came again.
        is_plain: Whether only the destination distinguishes it from packets of clients.
        is_other: Whether the protocol is in no rule.
    """

    protocols: tuple[int, ...] = ()
    version: int = 0
    source_ports: tuple[Range, ...] = ()
    destination_ports: tuple[Range, ...] = ()
    tcp_flags: Range | None = None
    lengths: Range | None = None
    windows: tuple[int, ...] = ()
    idents: tuple[int, ...] = ()
    options: bool | None = None
    payloads: tuple[bytes, ...] = ()
    fragment: bool | None = None
    served: bool | None = None
    destinations: int = 0
    shaken: float = 0.0
    pulses: int = 0
    is_plain: bool = False
    is_other: bool = False

    @property
    def expression(self) -> str:
        """The part of the signature that expressions can have: it matches these packets, and some others."""
        parts = [*self._of_ip(), *self._of_ports(), *self._of_flags()]
        return " and ".join(parts) or "true"

    def _of_ip(self) -> Iterator[str]:
        if self.protocols:
            yield _among("ip.proto.num", [(one, one) for one in self.protocols])
        if self.lengths:
            yield _among("ip.len", [self.lengths])

    def _of_ports(self) -> Iterator[str]:
        transport = "tcp" if self.protocols == (_TCP,) else "udp"
        for name, ranges in (("srcport", self.source_ports), ("dstport", self.destination_ports)):
            if ranges:
                yield _among(f"{transport}.{name}", ranges)

    def _of_flags(self) -> Iterator[str]:
        mask, flags = self.tcp_flags or (0, 0)
        for name, bit in FLAG_FIELDS.items():
            if mask & bit:
                yield name if flags & bit else f"not {name}"


def _among(field: str, ranges: Sequence[Range]) -> str:
    shown = [f"{low}" if low == high else f"{low}..{high}" for low, high in ranges]
    alone = len(shown) == 1 and ".." not in shown[0]
    return f"{field} eq {shown[0]}" if alone else f"{field} in {{{' '.join(shown)}}}"


@dataclass(frozen=True, slots=True)
class ManagedRule:
    """A kind of attack.

    Attributes:
        ref: A short name that never changes.
        name: The name of the attack.
        description: Its packets, and their cause.
        categories: Tags, which overrides may name.
        signature: Its signature; None for one that an adaptive profile finds.
        action: The action without overrides.
        least: The packets per second that activate it by default.
        known_id: Cloudflare's id, or the end of it, if that is public.
    """

    ref: str
    name: str
    description: str
    categories: tuple[str, ...]
    signature: Signature | None
    action: ManagedAction = "ddos_dynamic"
    least: int = _LEAST
    known_id: str = ""

    @property
    def id(self) -> str:
        """32 hex digits."""
        made = hashlib.sha256(f"{PHASE}/{self.ref}".encode()).hexdigest()
        return made[: _ID_DIGITS - len(self.known_id)] + self.known_id

    def threshold(self, sensitivity: Sensitivity) -> int:
        """Return the packets per second, beyond normal, that activate it."""
        return self.least * _FACTORS[sensitivity]


def _ranges(*ports: int | Range) -> tuple[Range, ...]:
    return tuple((one, one) if isinstance(one, int) else one for one in ports)


def _reflection(
    ref: str, name: str, tag: str, what: str, *ports: int | Range, length: Range | None = None
) -> ManagedRule:
    """Return the rule for answers of servers to queries forged in the name of the target."""
    shown = " or ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in _ranges(*ports))
    return ManagedRule(
        ref,
        f"{name} reflection",
        f"UDP from port {shown}: {what}, requested with the victim's forged address.",
        ("udp", "reflection", tag),
        # Later fragments of an answer have no ports.
        Signature((_UDP,), source_ports=_ranges(*ports), lengths=length),
    )


def _flags(*named: str, looked_at: int = _ALL_FLAGS) -> Range:
    return looked_at, sum(TCP_FLAGS[name] for name in named)


def _tcp(
    ref: str,
    name: str,
    description: str,
    signature: Signature,
    tags: tuple[str, ...] = (),
    known_id: str = "",
) -> ManagedRule:
    return ManagedRule(ref, name, description, ("tcp", *tags), signature, known_id=known_id)


def _udp(
    ref: str, name: str, description: str, signature: Signature, tags: tuple[str, ...] = (), known_id: str = ""
) -> ManagedRule:
    return ManagedRule(ref, name, description, ("udp", *tags), signature, known_id=known_id)


# TCP segments that no system sends.
_IMPOSSIBLE = (
    _tcp(
        "TCP-0101",
        "TCP null flood",
        "Segments without any flag, which no TCP implementation sends.",
        Signature((_TCP,), tcp_flags=_flags(), fragment=False),
        ("invalid",),
    ),
    _tcp(
        "TCP-0102",
        "TCP Christmas tree flood",
        "Segments with FIN, PSH and URG: a scanner's, or a flood's.",
        Signature((_TCP,), tcp_flags=_flags("fin", "psh", "urg", looked_at=0x29)),
        ("invalid",),
    ),
    _tcp(
        "TCP-0103",
        "TCP SYN+FIN flood",
        "Segments that open and end a connection at once.",
        Signature((_TCP,), tcp_flags=_flags("syn", "fin", looked_at=0x03)),
        ("invalid",),
    ),
    _tcp(
        "TCP-0104",
        "TCP SYN+RST flood",
        "Segments that open and abort a connection at once.",
        Signature((_TCP,), tcp_flags=_flags("syn", "rst", looked_at=0x06)),
        ("invalid",),
    ),
    _tcp(
        "TCP-0105",
        "TCP RST+FIN flood",
        "Segments that end and abort a connection at once.",
        Signature((_TCP,), tcp_flags=_flags("rst", "fin", looked_at=0x05)),
        ("invalid",),
    ),
)
_REFLECTIONS = (
    _reflection("RFL-0001", "DNS", "dns", "answers of open resolvers and name servers", 53),
    _reflection("RFL-0002", "NTP", "ntp", "answers of NTP servers (monlist)", 123),
    _reflection("RFL-0003", "SSDP", "ssdp", "answers of UPnP devices", 1900),
    _reflection("RFL-0004", "memcached", "memcached", "stored values", 11211),
    _reflection("RFL-0005", "CLDAP", "cldap", "answers of directory servers", 389),
    _reflection("RFL-0006", "chargen", "chargen", "characters of test servers", 19),
    _reflection("RFL-0007", "WS-Discovery", "wsd", "answers of cameras and printers", 3702),
    _reflection("RFL-0008", "QOTD", "qotd", "quotes of the day", 17),
    _reflection("RFL-0009", "SNMP", "snmp", "answers of network devices (GetBulk)", 161),
    _reflection("RFL-0010", "mDNS", "mdns", "answers of devices that announce services", 5353),
    _reflection("RFL-0011", "portmap", "rpc", "lists of RPC services", 111),
    _reflection("RFL-0012", "Source Engine", "games", "answers of Steam's game servers", (27015, 27050)),
    _reflection("RFL-0013", "Quake", "games", "answers of Quake's game servers", 26000, (27950, 27970)),
    _reflection("RFL-0014", "CoAP", "coap", "answers of small devices", 5683),
    _reflection("RFL-0015", "ARD", "ard", "answers of Apple's remote desktop", 3283),
    _reflection("RFL-0016", "TFTP", "tftp", "blocks of files", 69),
    _reflection("RFL-0017", "L2TP", "l2tp", "answers of VPN servers", 1701),
    _reflection("RFL-0018", "RIPv1", "rip", "tables of routes", 520),
    _reflection("RFL-0019", "NetBIOS", "netbios", "answers of Windows' name service", 137, 138),
    _reflection("RFL-0020", "SLP", "slp", "lists of services", 427),
    _reflection("RFL-0021", "IPMI", "ipmi", "answers of servers' management controllers", 623),
    _reflection("RFL-0022", "MSSQL", "mssql", "lists of database instances", 1434),
    _reflection("RFL-0023", "Citrix", "citrix", "answers of Citrix browsers", 1604),
    _reflection("RFL-0024", "RDP", "rdp", "answers of Windows' remote desktop over UDP", 3389),
    _reflection("RFL-0025", "STUN", "stun", "answers of STUN and TURN servers", 3478),
    _reflection("RFL-0026", "SIP", "sip", "answers of telephone servers", 5060),
    _reflection("RFL-0027", "BitTorrent", "bittorrent", "answers of peers and of the distributed table", (6881, 6889)),
    _reflection("RFL-0028", "Ubiquiti discovery", "ubiquiti", "answers of radio devices", 10001),
    _reflection("RFL-0029", "TP-240", "tp240", "answers of telephone gateways", 10074),
    _reflection("RFL-0030", "VxWorks debugger", "vxworks", "answers of devices' debuggers", 17185),
    _reflection("RFL-0031", "Plex", "plex", "answers of media servers", 32410, (32412, 32414)),
    _reflection("RFL-0032", "Jenkins", "jenkins", "answers of build servers", 33848),
    _reflection("RFL-0033", "DVR discovery", "dvr", "answers of video recorders", 37810),
    _reflection("RFL-0034", "XDMCP", "xdmcp", "answers of X display managers", 177),
    _reflection("RFL-0035", "IKE", "ike", "answers of IPsec gateways", 500, 4500),
    _reflection("RFL-0036", "OpenVPN", "openvpn", "answers of VPN servers", 1194),
    _reflection("RFL-0037", "BACnet", "bacnet", "answers of building controllers", 47808),
    _reflection("RFL-0038", "Crestron", "crestron", "answers of room controllers", 41794),
    _reflection("RFL-0039", "Lantronix", "lantronix", "answers of serial gateways", 30718),
    _reflection("RFL-0040", "Netis router", "netis", "answers of routers' back doors", 53413),
    _reflection("RFL-0041", "echo", "echo", "echoes of test servers", 7),
    _reflection("RFL-0042", "daytime", "daytime", "answers of test servers", 13),
    _reflection("RFL-0043", "FiveM", "games", "answers of GTA servers", 30120),
    _reflection("RFL-0044", "TeamSpeak", "games", "answers of voice servers", 9987),
    _reflection("RFL-0045", "Gnutella", "bittorrent", "answers of peers", 6346),
    _reflection(
        "RFL-0046",
        "DTLS or QUIC",
        "quic",
        "first answers of servers, which are longer than packets of clients",
        443,
        length=(500, 65535),
    ),
    ManagedRule(
        "RFL-0101",
        "TCP SYN-ACK reflection",
        "SYN-ACKs of servers that received SYNs with the victim's forged address.",
        ("tcp", "reflection", "syn-ack"),
        Signature((_TCP,), tcp_flags=_flags("syn", "ack", looked_at=0x17)),
    ),
    ManagedRule(
        "RFL-0102",
        "TCP middlebox reflection",
        "Block pages of middleboxes, from a web port, in reply to requests without a connection.",
        ("tcp", "reflection"),
        Signature(
            (_TCP,),
            source_ports=_ranges(80, 443, 8080),
            tcp_flags=_flags("ack", looked_at=0x12),
            lengths=(100, 65535),
            served=False,
        ),
    ),
)
_TOOLS = (
    _udp(
        "BOT-0001",
        "Mirai UDP plain flood",
        "Datagrams with 512 bytes of payload, as Mirai and its descendants send.",
        Signature((_UDP,), lengths=(540, 540), fragment=False),
        ("botnet",),
    ),
    _tcp(
        "BOT-0002",
        "hping SYN flood",
        "SYNs with a window of 512 or 64 and no options, as hping sends.",
        Signature((_TCP,), tcp_flags=_flags("syn"), windows=(64, 512), options=False),
        ("botnet", "syn"),
    ),
    _tcp(
        "BOT-0003",
        "Scanner's SYN flood",
        "SYNs with a window of 1024 and few options, as masscan, Nmap and ZMap send.",
        Signature((_TCP,), tcp_flags=_flags("syn"), windows=(1024,)),
        ("botnet", "syn"),
    ),
    _tcp(
        "BOT-0004",
        "ZMap SYN flood",
        "SYNs with the IP id 54321, as ZMap sends.",
        Signature((_TCP,), tcp_flags=_flags("syn"), idents=(54321,)),
        ("botnet", "syn"),
    ),
)
# Floods of protocols that many attacks target.
_SERVICES = (
    _udp(
        "DNS-0002",
        "DNS query flood",
        "Queries, often for names that do not exist, to port 53.",
        Signature((_UDP,), destination_ports=_ranges(53), fragment=False),
        ("dns",),
        "520f5ecec28844ca971a8b3f9c425c26",
    ),
    _udp(
        "SIP-0002",
        "SIP flood",
        "Registrations and calls, to port 5060.",
        Signature((_UDP,), destination_ports=_ranges(5060, 5061), fragment=False),
        ("sip",),
        "afd7c2341e974f1c985c338934228119",
    ),
    _udp(
        "QUIC-0001",
        "QUIC flood",
        "Datagrams to port 443.",
        Signature((_UDP,), destination_ports=_ranges(443), fragment=False),
        ("quic",),
    ),
    _udp(
        "NTP-0001",
        "NTP flood",
        "NTP requests, to port 123.",
        Signature((_UDP,), destination_ports=_ranges(123), fragment=False),
        ("ntp",),
    ),
    _udp(
        "VPN-0001",
        "IKE flood",
        "Handshakes of IPsec, to ports 500 and 4500.",
        Signature((_UDP,), destination_ports=_ranges(500, 4500), fragment=False),
        ("ike", "vpn"),
    ),
    _udp(
        "VPN-0002",
        "VPN handshake flood",
        "Handshakes of WireGuard and OpenVPN, to ports 51820 and 1194.",
        Signature((_UDP,), destination_ports=_ranges(51820, 1194), fragment=False),
        ("vpn",),
    ),
    _udp(
        "GAME-0001",
        "Source Engine query flood",
        "Queries for a game server's name and players (A2S).",
        Signature(
            (_UDP,), payloads=(b"\xff\xff\xff\xffT", b"\xff\xff\xff\xffU", b"\xff\xff\xff\xffV", b"\xff\xff\xff\xffW")
        ),
        ("games",),
    ),
    _udp(
        "GAME-0002",
        "RakNet ping flood",
        "Pings of Minecraft's and other games' networks.",
        Signature((_UDP,), destination_ports=_ranges(19132, 19133), fragment=False),
        ("games",),
    ),
    _udp(
        "GAME-0003",
        "Quake query flood",
        "Queries for a game server's status.",
        Signature((_UDP,), payloads=(b"\xff\xff\xff\xffgets", b"\xff\xff\xff\xffgeti")),
        ("games",),
    ),
    _udp(
        "GAME-0004",
        "TeamSpeak flood",
        "Handshakes of voice servers.",
        Signature((_UDP,), payloads=(b"TS3INIT1",)),
        ("games",),
    ),
)
_FRAGMENTS = (
    ManagedRule(
        "FRAG-0003",
        "Tiny fragments",
        "Fragments that are too short for their header.",
        ("fragments",),
        Signature(fragment=True, lengths=(0, 68)),
    ),
    ManagedRule(
        "UDP4-0001",
        "IPv4 UDP fragments",
        "Fragments of datagrams: often the rest of a reflection's answers.",
        ("udp", "fragments"),
        Signature((_UDP,), 4, fragment=True),
        known_id="cdc6573a5b60439d80eb792d70534fe6",
    ),
    ManagedRule(
        "UDP6-0001",
        "IPv6 UDP fragments",
        "Fragments of datagrams: often the rest of a reflection's answers.",
        ("udp", "fragments"),
        Signature((_UDP,), 6, fragment=True),
        known_id="c2671098563b405a8b0600f550d7ad86",
    ),
    ManagedRule(
        "FRAG-0001",
        "TCP fragments",
        "Fragments of TCP, which systems of today do not send.",
        ("tcp", "fragments"),
        Signature((_TCP,), fragment=True),
    ),
    ManagedRule(
        "FRAG-0002",
        "ICMP fragments",
        "Fragments of echo requests, such as the ping of death.",
        ("icmp", "fragments"),
        Signature((_ICMP, _ICMP6), fragment=True),
    ),
    ManagedRule(
        "FRAG-0004", "Other fragments", "Fragments of any other protocol.", ("fragments",), Signature(fragment=True)
    ),
)
_PULSES = (
    ManagedRule(
        "PULSE-0001",
        "Pulse wave",
        "A flood in bursts, which evades slow detection.",
        ("pulse",),
        Signature(pulses=4),
    ),
)
_CARPETS = (
    ManagedRule(
        "CARPET-0001",
        "UDP carpet bombing",
        "Datagrams to many addresses of a prefix: few for each, many for the link.",
        ("udp", "carpet"),
        Signature((_UDP,), destinations=16),
    ),
    ManagedRule(
        "CARPET-0002",
        "TCP carpet bombing",
        "Segments to many addresses of a prefix.",
        ("tcp", "carpet"),
        Signature((_TCP,), destinations=16),
    ),
    ManagedRule(
        "CARPET-0003",
        "Other carpet bombing",
        "Packets of other protocols to many addresses of a prefix.",
        ("carpet",),
        Signature(destinations=16),
    ),
)
_FLAG_FLOODS = (
    _tcp(
        "TCP-0203",
        "TCP slow sessions",
        "Connections that are opened, and then send next to nothing.",
        Signature((_TCP,), lengths=(0, 80), shaken=0.8),
        ("connections",),
    ),
    _tcp(
        "TCP-0202",
        "TCP connection flood",
        "Connections of real hosts that complete the handshake and then stay idle.",
        Signature((_TCP,), tcp_flags=(0x05, 0), shaken=0.25),
        ("connections",),
    ),
    _tcp(
        "TCP-0004",
        "SYN flood with data",
        "SYNs with payload, without TCP Fast Open.",
        Signature((_TCP,), tcp_flags=_flags("syn", looked_at=0x17), lengths=(81, 65535)),
        ("syn",),
    ),
    _tcp(
        "TCP-0003",
        "SYN flood without options",
        "SYNs without any option, which no current system sends.",
        Signature((_TCP,), tcp_flags=_flags("syn", looked_at=0x17), options=False),
        ("syn",),
    ),
    _tcp(
        "TCP-0001",
        "SYN flood",
        "SYNs with the properties of clients' SYNs.",
        Signature((_TCP,), tcp_flags=_flags("syn", looked_at=0x17)),
        ("syn",),
        "9da0fb429a25436fa543519f4570f19f",
    ),
    _tcp(
        "TCP-0005",
        "PSH-ACK flood",
        "Segments with data for connections that do not exist.",
        Signature((_TCP,), tcp_flags=_flags("psh", "ack")),
        ("ack",),
    ),
    _tcp(
        "TCP-0006",
        "ACK flood",
        "Acknowledgements for connections that do not exist.",
        Signature((_TCP,), tcp_flags=_flags("ack")),
        ("ack",),
    ),
    _tcp(
        "TCP-0007",
        "RST flood",
        "Resets of connections that do not exist.",
        Signature((_TCP,), tcp_flags=_flags("rst", looked_at=0x07)),
        ("rst",),
    ),
    _tcp(
        "TCP-0008",
        "FIN flood",
        "FINs of connections that do not exist.",
        Signature((_TCP,), tcp_flags=_flags("fin", looked_at=0x07)),
        ("fin",),
    ),
    _tcp(
        "TCP-0009",
        "URG flood",
        "Segments with urgent data, which is hardly used.",
        Signature((_TCP,), tcp_flags=_flags("urg", looked_at=0x27)),
        ("urg",),
    ),
    _tcp(
        "TCP-0002",
        "TCP out-of-state flood",
        "Other segments of connections that do not exist.",
        Signature((_TCP,)),
        ("out-of-state",),
        "6efeb57a52e744e89a5413121bd0b3d3",
    ),
)
_DATAGRAMS = (
    _udp(
        "UDP-0002",
        "Empty UDP flood",
        "Datagrams without payload.",
        Signature((_UDP,), lengths=(0, 28), fragment=False),
        ("tiny",),
    ),
    _udp(
        "UDP-0003",
        "Tiny UDP flood",
        "Datagrams with next to no payload, for the highest packet rate.",
        Signature((_UDP,), lengths=(29, 40), fragment=False),
        ("tiny",),
    ),
    _udp(
        "UDP-0004",
        "Stray UDP flood",
        "Datagrams to addresses and ports without an app.",
        Signature((_UDP,), served=False),
        ("stray",),
    ),
    _udp(
        "UDP-0005",
        "New-flow flood",
        "Datagrams with the properties of clients' first ones, from too many sources to count.",
        Signature((_UDP,), served=True, is_plain=True),
        ("new-flows",),
    ),
    _udp(
        "UDP-0001",
        "UDP flood",
        "Datagrams at an abnormal rate.",
        Signature((_UDP,)),
        ("generic",),
        "599dab0942ff4898ac1b7797e954e98b",
    ),
)
_OTHERS = (
    ManagedRule("ICMP-0001", "ICMP flood", "Echo requests and other messages of IPv4.", ("icmp",), Signature((_ICMP,))),
    ManagedRule(
        "ICMP-0002",
        "ICMPv6 flood",
        "Echo requests and other messages of IPv6.",
        ("icmp", "icmpv6"),
        Signature((_ICMP6,)),
    ),
    ManagedRule(
        "GRE4-0001", "IPv4 GRE flood", "Packets of tunnels, often with a flood inside.", ("gre",), Signature((_GRE,), 4)
    ),
    ManagedRule(
        "GRE6-0001", "IPv6 GRE flood", "Packets of tunnels, often with a flood inside.", ("gre",), Signature((_GRE,), 6)
    ),
    ManagedRule(
        "ESP4-0001",
        "IPv4 ESP flood",
        "Packets of IPsec.",
        ("esp",),
        Signature((_ESP,), 4),
        known_id="89bd10e19f974b9ba3784db068c2fd70",
    ),
    ManagedRule(
        "ESP6-0001",
        "IPv6 ESP flood",
        "Packets of IPsec.",
        ("esp",),
        Signature((_ESP,), 6),
        known_id="63996ad8353d42e08188bd6bdcd96fe2",
    ),
    ManagedRule("AH-0001", "AH flood", "Packets with IPsec's authentication header.", ("esp",), Signature((51,))),
    ManagedRule("IPIP-0001", "IP-in-IP flood", "Packets of IPv4 and IPv6 in IP.", ("tunnels",), Signature((4, 41))),
    ManagedRule("SCTP-0001", "SCTP flood", "Packets of SCTP, such as INITs.", ("sctp",), Signature((_SCTP,))),
    ManagedRule("IGMP-0001", "IGMP flood", "IGMP membership messages.", ("igmp",), Signature((2,))),
    ManagedRule(
        "ROUTE-0001",
        "Routing protocol flood",
        "Packets of EIGRP, OSPF, PIM and VRRP.",
        ("routing",),
        Signature((88, 89, 103, 112)),
    ),
    ManagedRule(
        "L2TP-0001", "L2TPv3 flood", "Packets of tunnels of the second layer.", ("tunnels",), Signature((115,))
    ),
    ManagedRule(
        "PROTO-0000",
        "Protocol 0 flood",
        "IPv4 packets of protocol 0, which is reserved.",
        ("invalid",),
        Signature((0,)),
    ),
    ManagedRule(
        "GENERIC-0001",
        "Flood of another IPv4 protocol",
        "Packets of any other protocol.",
        ("generic", "other"),
        Signature(version=4, is_other=True),
        "rate-limit",
        _LEAST_GENERIC,
    ),
    ManagedRule(
        "GENERIC-0002",
        "Flood of another IPv6 protocol",
        "Packets of any other protocol.",
        ("generic", "other"),
        Signature(version=6, is_other=True),
        "rate-limit",
        _LEAST_GENERIC,
    ),
    ManagedRule(
        "GENERIC-0003",
        "Mixed flood",
        "Packets of several protocols that share other properties.",
        ("generic",),
        Signature(),
        "rate-limit",
        _LEAST_GENERIC,
    ),
)

Dimension = Literal["protocol", "country", "destination_port", "length"]


def _adaptive(ref: str, what: str, tags: tuple[str, ...], known_id: str = "") -> ManagedRule:
    return ManagedRule(
        ref,
        f"Adaptive protection: {what}",
        f"More {what} than the app's profile of the last seven days.",
        ("advanced", *tags),
        None,
        "log",
        known_id=known_id,
    )


# By dimension, protocol and version of IP; 0 is any.
_PROFILED: Mapping[tuple[Dimension, int, int], ManagedRule] = {
    ("protocol", _UDP, 0): _adaptive("ADAPT-0001", "UDP", ("udp",), "58e4914a"),
    ("country", _UDP, 0): _adaptive("ADAPT-0002", "UDP from a country", ("udp",), "aa772b5c"),
    ("destination_port", _UDP, 0): _adaptive("ADAPT-0003", "UDP to a port", ("udp",), "85fa2e98"),
    ("protocol", _ICMP, 0): _adaptive("ADAPT-0004", "ICMP", ("icmp",), "9c173480"),
    ("protocol", _ICMP6, 0): _adaptive("ADAPT-0005", "ICMPv6", ("icmp", "icmpv6"), "ae3f5e4e"),
    ("protocol", _GRE, 4): _adaptive("ADAPT-0006", "IPv4 GRE", ("gre",), "ad8078b8"),
    ("protocol", _GRE, 6): _adaptive("ADAPT-0007", "IPv6 GRE", ("gre",), "8de83ef6"),
    ("protocol", _ESP, 4): _adaptive("ADAPT-0008", "IPv4 ESP", ("esp",), "90c9e55497724742b60f603fe4e7541c"),
    ("protocol", _ESP, 6): _adaptive("ADAPT-0009", "IPv6 ESP", ("esp",), "f526ae90584b401d8d7dd9f4938e978c"),
    ("protocol", 0, 4): _adaptive("ADAPT-0010", "packets of other IPv4 protocols", ("other",), "c7dc52df"),
    ("protocol", 0, 6): _adaptive("ADAPT-0011", "packets of other IPv6 protocols", ("other",), "76d5e15c"),
    ("protocol", _TCP, 0): _adaptive("ADAPT-0012", "TCP", ("tcp",)),
    ("country", _TCP, 0): _adaptive("ADAPT-0013", "TCP from a country", ("tcp",)),
    ("destination_port", _TCP, 0): _adaptive("ADAPT-0014", "TCP to a port", ("tcp",)),
    ("length", 0, 0): _adaptive("ADAPT-0015", "packets of a size", ()),
}


def adaptive_rule(dimension: Dimension, protocol: int, version: int) -> ManagedRule | None:
    """Return the rule for an excess over an adaptive profile; None if there is none.

    Args:
        dimension: The dimension of the profile.
        protocol: The IP protocol, by number.
        version: The IP version.
    """
    for key in ((dimension, protocol, 0), (dimension, protocol, version), (dimension, 0, version), (dimension, 0, 0)):
        if (found := _PROFILED.get(key)) is not None:
            return found
    return None


# In the order of matching: more specific ones first.
RULES: tuple[ManagedRule, ...] = (
    *_IMPOSSIBLE,
    *_REFLECTIONS,
    *_TOOLS,
    *_SERVICES,
    *_FRAGMENTS,
    *_PULSES,
    *_CARPETS,
    *_FLAG_FLOODS,
    *_DATAGRAMS,
    *_OTHERS,
    *_PROFILED.values(),
)
NAMED_PROTOCOLS = frozenset(one for rule in RULES if rule.signature is not None for one in rule.signature.protocols)
BY_ID: Mapping[str, ManagedRule] = {rule.id: rule for rule in RULES}
BY_REF: Mapping[str, ManagedRule] = {rule.ref: rule for rule in RULES}
CATEGORIES: tuple[str, ...] = tuple(sorted({tag for rule in RULES for tag in rule.categories}))
