"""Detection without a profile: in a new daemon's first minute, and for new apps. Clients continue after their first
packet: TCP completes its handshake and both ends send data, UDP flows are answered and continue. If far more packets
open flows than continue them, they are an attack, whatever is normal. So are answers of servers to forged requests, and
segments that no client sends.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.askers import are_too_many
from spectrum.core.ddos.classification import has_signature
from spectrum.core.ddos.managed import RULES
from spectrum.core.ddos.packets import IN_USE, LATER_FRAGMENT, NO_APP, OPENING, Column, Mask, Packets
from spectrum.core.packets import PROTOCOLS

# Protocols that are judged by what follows; tunnels and the like are in no table of flows.
_TRACKED = tuple(PROTOCOLS[name] for name in ("tcp", "udp", "icmp", "icmpv6"))
_TCP, _UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]
# Fewer openings, in packets per second, are not an attack.
LEAST_OPENING = 2_000.0
# The ratios of completed handshakes, and of packets of flows in use, to openings. Crowds have three times as many.
LEAST_SHAKEN, LEAST_IN_USE = 0.1, 0.5
# Below this share of continued flows, an app answers each query by itself, as DNS does, or not at all.
STATELESS = 0.01
# An attack is suspect as a whole if this share of it is.
SUSPECT_SHARE = 0.9

_ANSWERS = np.zeros(1 << 16, bool)
for _rule in RULES:
    if _rule.signature is not None and "reflection" in _rule.categories and not _rule.signature.lengths:
        for _low, _high in _rule.signature.source_ports:
            _ANSWERS[_low : _high + 1] = True
_NO_CLIENTS = [
    rule.signature
    for rule in RULES
    if rule.signature is not None and rule.categories[0] == "tcp" and {"invalid", "syn-ack"} & {*rule.categories}
]


@dataclass(frozen=True, slots=True)
class Suspects:
    """Attacks that need no profile.

    Attributes:
        kinds: Apps and protocols with far more openings than continued flows, numbered by `_kinds`.
        ports: Ports of servers that answer without a request.
        impossible: Whether there are segments that no client sends.
    """

    kinds: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    ports: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    impossible: bool = False

    @classmethod
    def among(cls, packets: Packets, seconds: float) -> "Suspects":
        """Return the suspects among samples of some seconds."""
        return cls(
            np.array(list(_suspect_kinds(packets, seconds)), np.int64),
            _suspect_ports(packets, seconds),
            _per_s(packets, _impossible(packets), seconds) >= LEAST_OPENING,
        )

    def __bool__(self) -> bool:
        """Return whether anything is suspect."""
        return bool(len(self.kinds) or len(self.ports) or self.impossible)

    @property
    def apps(self) -> set[int]:
        """The numbers of the apps with far more openings than continued flows."""
        return {int(kind) // 256 - 1 for kind in self.kinds}

    def of_no_client(self, packets: Packets) -> Mask:
        """Return which packets no client of any app sends."""
        found = _answers(packets) & np.isin(packets["source_port"], self.ports)
        return found | _impossible(packets) if self.impossible else found

    def match(self, packets: Packets) -> Mask:
        """Return which packets are suspect."""
        among = np.isin(_kinds(packets), self.kinds) & (packets["fragment"] != LATER_FRAGMENT)
        return np.asarray((among & (packets["state"] != IN_USE)) | self.of_no_client(packets))

    def trusted(self, packets: Packets) -> Packets:
        """Return the packets that are not suspect, or of sources that had a flow in use."""
        return packets.where(~self.match(packets) | ((packets["known"] == 1) & ~self.of_no_client(packets)))


def _kinds(packets: Packets) -> Column:
    """Number apps and protocols."""
    return (packets["app"].astype(np.int64) + 1) * 256 + packets["protocol"]


def _suspect_kinds(packets: Packets, seconds: float) -> list[int]:
    tracked = packets.where(np.isin(packets["protocol"], _TRACKED) & (packets["fragment"] != LATER_FRAGMENT))
    kinds, place = np.unique(_kinds(tracked), return_inverse=True)
    came = np.bincount(place * 3 + tracked["state"], tracked["stands_for"], len(kinds) * 3).reshape(-1, 3) / seconds
    return [
        int(kind)
        for number, kind in enumerate(kinds)
        if came[number, OPENING] >= LEAST_OPENING
        and _never_goes_on(
            int(kind), came[number], tracked["source"][(place == number) & (tracked["state"] == OPENING)]
        )
    ]


def _never_goes_on(kind: int, came: NDArray[np.float64], sources: Column) -> bool:
    """Return whether far more packets of an app and protocol open flows than continue them."""
    opening, shaken, in_use = came
    is_served, is_tcp = kind // 256 - 1 != NO_APP, kind % 256 == _TCP
    if is_served and not is_tcp and shaken + in_use < STATELESS * opening:
        return are_too_many(sources)
    return bool(shaken < LEAST_SHAKEN * opening or in_use < LEAST_IN_USE * opening)


def _answers(packets: Packets) -> Mask:
    """Return which packets are answers of servers that are often abused for reflection."""
    from_server = (packets["protocol"] == _UDP) & _ANSWERS[packets["source_port"]]
    return np.asarray(
        from_server & (packets["source_port"] != packets["destination_port"]) & (packets["state"] == OPENING)
    )


def _suspect_ports(packets: Packets, seconds: float) -> NDArray[np.int64]:
    """Return the ports from which servers answer without flows that continue."""
    answers = _answers(packets)
    ports = np.unique(packets["source_port"][answers]).astype(np.int64)
    is_udp = packets["protocol"] == _UDP
    return np.array(
        [
            port
            for port in ports
            if (rate := _per_s(packets, answers & (packets["source_port"] == port), seconds)) >= LEAST_OPENING
            and _per_s(packets, is_udp & (packets["source_port"] == port) & (packets["state"] != OPENING), seconds)
            < STATELESS * rate
        ],
        np.int64,
    )


def _impossible(packets: Packets) -> Mask:
    found = np.zeros(len(packets), bool)
    for signature in _NO_CLIENTS:
        found |= has_signature(signature, packets)
    return np.asarray(found & (packets["state"] == OPENING))


def _per_s(packets: Packets, mask: Mask, seconds: float) -> float:
    return float(packets["stands_for"][mask].sum()) / seconds
