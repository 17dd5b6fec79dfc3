"""The target of a flood: addresses and ports of simulated packets are replaced by those of an app."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from spectrum.core.ddos.packets import COLUMNS, LATER_FRAGMENT, MAPPED, Packets

# The prefix of IPv6 sources of a vector that has IPv4 ones: with the address in the last 32 bits of one /64, a flood
# would have a single source, so the address is in the prefix.
_SIX_SOURCES = 0x20010DB8 << 32


@dataclass(frozen=True, slots=True)
class TargetApp:
    """An app.

    Attributes:
        four: Its IPv4 address; None without one.
        six: Its IPv6 address, likewise.
        ports: The first and the last one.
    """

    four: IPv4Address | None
    six: IPv6Address | None
    ports: tuple[int, int]


def aimed(packets: Packets, target: TargetApp) -> Packets:
    """Return packets with the destination of an app.

    Those to a served port go to a port of the app; others keep theirs. Those to many addresses (a carpet) go to as many
    around the app's. IPv4 packets become IPv6 ones for an app without an IPv4 address, and the other way round.

    Raises:
        ValueError: If the app has no address.
    """
    columns = {name: packets[name] for name in COLUMNS}
    is_six = packets["version"] == 6
    if target.four is None and target.six is None:
        raise ValueError("the target has no address")
    if target.four is None:
        sources = np.uint64(_SIX_SOURCES) | (packets["source_low"] & np.uint64(0xFFFFFFFF))
        columns["source_high"] = np.where(is_six, packets["source_high"], sources)
        is_six = np.ones(len(packets), bool)
    elif target.six is None:
        columns["source_high"] = np.zeros(len(packets), np.uint64)
        columns["source_low"] = (packets["source_low"] & np.uint64(0xFFFFFFFF)) | np.uint64(MAPPED)
        is_six = np.zeros(len(packets), bool)
    columns["version"] = np.where(is_six, 6, 4).astype(np.uint8)
    hosts = (packets["destination_low"] & np.uint64(0xFF)).astype(np.int64)
    away = hosts - np.bincount(hosts, minlength=256).argmax() if len(np.unique(hosts)) > 2 else hosts * 0
    four, six = int(target.four or 0), int(target.six or 0)
    fours = np.uint64(MAPPED) | (np.uint64(four & ~0xFF) | ((four & 0xFF) + away & 0xFF).astype(np.uint64))
    sixes = np.uint64(six & 0xFFFFFFFFFFFFFF00) | ((six & 0xFF) + away & 0xFF).astype(np.uint64)
    columns["destination_high"] = np.where(is_six, np.uint64(six >> 64), np.uint64(0))
    columns["destination_low"] = np.where(is_six, sixes, fours)
    first, last = target.ports
    ports = first + packets["destination_port"].astype(np.int64) % (last - first + 1)
    to_app = (packets["served"] > 0) & (packets["fragment"] != LATER_FRAGMENT)
    columns["destination_port"] = np.where(to_app, ports, packets["destination_port"]).astype(np.uint16)
    return Packets(columns)
