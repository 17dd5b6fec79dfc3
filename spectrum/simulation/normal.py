"""Normal traffic of one protected /24, and flash crowds: sampled packets in the form of detection.

Apps: a game, voice, DNS, web over TCP and QUIC, SSH. Simplifications: the state of a flow is always right, there are no
large NATs, and no daily curve.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from spectrum.core.ddos.packets import COLUMNS, IN_USE, MAPPED, NO_APP, OPENING, SHAKEN, Packets

Numbers = NDArray[Any]
TCP, UDP, ICMP, GRE = 6, 17, 1, 47
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
GAME, VOICE, DNS, WEB, QUIC, SSH = range(6)
# The /24 is 203.0.113.0/24.
NET = 203 << 24 | 0 << 16 | 113 << 8
HOST = {GAME: 10, VOICE: 20, DNS: 53, WEB: 80, QUIC: 80, SSH: 22}
SERVED = {(10, UDP, 7000), (53, UDP, 53), (80, TCP, 443), (80, UDP, 443), (22, TCP, 22)}
SERVED |= {(20, UDP, port) for port in range(10000, 10400)}
APP_OF = {(10, UDP): GAME, (20, UDP): VOICE, (53, UDP): DNS, (80, TCP): WEB, (80, UDP): QUIC, (22, TCP): SSH}
# A SYN of each stack: options (their kinds, hashed), window, TTL.
STACKS = np.array(
    [
        (0x51A10001, 64240, 64),
        (0x51A10002, 65535, 64),
        (0x51A10003, 64240, 128),
        (0x51A10004, 8192, 128),
        (0x51A10005, 65535, 128),
        (0x51A10006, 29200, 64),
    ],
    np.int64,
)


class World:
    """The constant part: the clients, and their distances.

    Args:
        seed: Of all random numbers.
    """

    def __init__(self, seed: int) -> None:
        self.chance: Generator = np.random.default_rng(seed)
        # Of sequence numbers: a field more leaves the rest of a seed's packets as they are.
        self.numbers: Generator = np.random.default_rng((seed, 1))
        nets = self.chance.permutation(np.arange(1 << 8, 223 << 8))[:4000]
        weights = 1 / np.arange(1, 4001) ** 1.1
        self._nets, self._weights = nets, weights / weights.sum()
        self._hops = self.chance.integers(5, 29, 1 << 16)
        self.level = self.chance.uniform(0.8, 1.2)
        self.clients = {
            app: self.fresh(count)
            for app, count in {GAME: 2000, VOICE: 200, DNS: 3000, WEB: 6000, QUIC: 4000, SSH: 300}.items()
        }

    def fresh(self, count: int) -> Numbers:
        """Return addresses of new clients."""
        nets = self.chance.choice(self._nets, count, p=self._weights)
        return (nets << 16) | self.chance.integers(0, 1 << 16, count)

    def ttl(self, addresses: Numbers, first: Numbers | int | None = None) -> Numbers:
        """Return the received TTL: 64, 128 or 255 at the source, less the hops from its /16."""
        begin = np.array([64, 64, 64, 128, 128, 255])[(addresses * 2654435761 >> 7) % 6] if first is None else first
        left: Numbers = begin - self._hops[addresses >> 16]
        return left


@cache
def _listens(protocol: int) -> Numbers:
    """Return whether an app listens, by the last byte of the address and the port."""
    listens = np.zeros((256, 65536), bool)
    for at, kind, port in SERVED:
        if kind == protocol:
            listens[at, port] = True
    return listens


@cache
def _apps(protocol: int) -> Numbers:
    """Return which app listens, by the last byte of the address."""
    apps = np.full(256, NO_APP)
    for (at, kind), app in APP_OF.items():
        if kind == protocol:
            apps[at] = app
    return apps


def packets(
    world: World, source: Numbers, host: Numbers | int, protocol: int, six: float = 0.0, **given: Any
) -> Packets:
    """Return rows with given columns, and the rest derived or random.

    Args:
        world: The clients.
        source: IPv4 addresses.
        host: The last byte of the destination.
        protocol: The IP protocol.
        six: The share that is sent over IPv6.
        given: Other columns.
    """
    chance, count = world.chance, len(source)
    columns: dict[str, Any] = {name: np.zeros(count, kind) for name, kind in COLUMNS.items()}
    is_six = chance.random(count) < six
    source, host = np.asarray(source, np.uint64), np.broadcast_to(np.asarray(host), count)
    columns["version"] = np.where(is_six, 6, 4)
    columns["source_low"] = np.where(is_six, source, source | np.uint64(MAPPED))
    columns["source_high"] = np.where(is_six, np.uint64(0x20010DB8 << 32) | source, 0)
    columns["destination_low"] = np.where(is_six, host, (NET | host) | MAPPED)
    columns["destination_high"] = np.where(is_six, np.uint64(0x20010DB8FFFF0000), 0)
    columns["protocol"] = protocol
    columns["source_port"] = chance.integers(1024, 65536, count) if protocol in (TCP, UDP) else 0
    columns["ident"] = chance.integers(0, 65536, count)
    columns["length"] = 40
    columns["state"], columns["known"] = OPENING, 0
    columns["payload"] = chance.integers(0, 1 << 63, count, np.uint64) << np.uint64(1)
    columns["stands_for"] = 1.0
    columns |= given
    if protocol == TCP:
        acknowledges = np.broadcast_to(np.asarray(columns["tcp_flags"]), count) & ACK > 0
        numbers = world.numbers.integers(0, 1 << 32, (2, count), np.uint32)
        columns |= {"sequence": numbers[0], "acknowledgement": numbers[1] * acknowledges} | given
    if "served" not in given:
        ports = np.broadcast_to(np.asarray(columns["destination_port"]), count)
        fragments = np.broadcast_to(np.asarray(columns["fragment"]), count)
        columns["served"] = _listens(protocol)[host, ports] & (fragments != 2)
        columns["app"] = np.where(columns["served"], _apps(protocol)[host], NO_APP)
    return Packets({name: np.full(count, column, COLUMNS[name]) for name, column in columns.items()})


def mixed(chance: Generator, count: int, shares: Mapping[int, float]) -> Numbers:
    """Return random values by their shares."""
    values = np.array(list(shares))
    weights = np.array(list(shares.values()))
    return chance.choice(values, count, p=weights / weights.sum())


def who(world: World, app: int, state: Numbers, unknown: float = 0.02) -> tuple[Numbers, Numbers]:
    """Return sources and whether they are known: three in ten openings are not."""
    chance, count = world.chance, len(state)
    is_new = chance.random(count) < np.where(state == OPENING, 0.3, unknown)
    source = np.where(is_new, world.fresh(count), chance.choice(world.clients[app], count))
    return source, ~is_new


def payload_of(first: Numbers, count: int, rest: Numbers) -> Numbers:
    """Return payloads of eight bytes that begin with some given ones."""
    keep = np.uint64((1 << 64 - 8 * count) - 1)
    return (np.asarray(first, np.uint64) << np.uint64(64 - 8 * count)) | (rest & keep)


def _random(world: World, count: int) -> Numbers:
    return world.chance.integers(0, 1 << 63, count, np.uint64) << np.uint64(1)


def game(world: World, count: int, states: Mapping[int, float]) -> Packets:
    """Players' moves."""
    chance = world.chance
    state = mixed(chance, count, states)
    source, known = who(world, GAME, state)
    length = np.clip(28 + chance.lognormal(4.0, 0.35, count), 20 + 28, 300)
    kind = mixed(chance, count, {1: 0.9, 2: 0.07, 3: 0.02, 0: 0.01})
    first = (0x4756 << 8) | kind
    begin = np.where((source * 40503 >> 3) % 10 < 7, 128, 64)
    return packets(
        world,
        source,
        HOST[GAME],
        UDP,
        0.04,
        destination_port=7000,
        length=length,
        state=state,
        known=known,
        ttl=world.ttl(source, begin),
        payload=payload_of(first, 3, _random(world, count)),
        payload_bytes=8,
    )


def voice(world: World, count: int, states: Mapping[int, float]) -> Packets:
    """RTP."""
    chance = world.chance
    state = mixed(chance, count, states)
    source, known = who(world, VOICE, state)
    first = (0x80 << 8) | mixed(chance, count, {0: 0.5, 8: 0.3, 18: 0.2})
    length = np.where(chance.random(count) < 0.8, 200, 60)
    return packets(
        world,
        source,
        HOST[VOICE],
        UDP,
        destination_port=10000 + (source % 400),
        length=length,
        state=state,
        known=known,
        ttl=world.ttl(source),
        payload=payload_of(first, 2, _random(world, count)),
        payload_bytes=8,
    )


def dns(world: World, count: int, new: float = 0.03) -> Packets:
    """Queries: each belongs to no flow."""
    chance = world.chance
    is_new = chance.random(count) < new
    ranks = np.minimum(chance.zipf(1.3, count) - 1, 2999)
    source = np.where(is_new, world.fresh(count), world.clients[DNS][ranks])
    flags = mixed(chance, count, {0x0100: 0.3, 0x0010: 0.5, 0x0120: 0.1, 0x0000: 0.1})
    payload = (chance.integers(0, 65536, count, np.uint64) << np.uint64(48)) | (
        flags.astype(np.uint64) << np.uint64(32)
    )
    payload |= np.uint64(1 << 16)
    return packets(
        world,
        source,
        HOST[DNS],
        UDP,
        0.1,
        destination_port=53,
        length=chance.integers(56, 101, count),
        state=OPENING,
        known=~is_new,
        ttl=world.ttl(source),
        payload=payload,
        payload_bytes=8,
    )


def web(world: World, count: int, opening: float = 0.03) -> Packets:
    """TCP of browsers."""
    chance = world.chance
    kind = mixed(chance, count, {0: opening, 1: opening, 2: 0.56, 3: 0.33, 4: 0.045, 5: 0.005})
    state = np.select([kind == 0, kind == 1], [OPENING, SHAKEN], IN_USE)
    source, known = who(world, WEB, state)
    stack = STACKS[(source * 48271 >> 5) % 6]
    flags = np.array([SYN, ACK, ACK, PSH | ACK, FIN | ACK, RST])[kind]
    length = np.select([kind == 0, kind == 3], [60, 52 + chance.lognormal(5.6, 0.8, count)], 52)
    payload = payload_of(np.full(count, 0x170303), 3, _random(world, count))
    return packets(
        world,
        source,
        HOST[WEB],
        TCP,
        0.08,
        destination_port=443,
        length=np.clip(length, 40, 1500),
        state=state,
        known=known,
        tcp_flags=flags,
        window=np.where(kind == 0, stack[:, 1], chance.integers(200, 65536, count)),
        options=np.where(kind == 0, stack[:, 0], 0x0101080A),
        ttl=world.ttl(source, stack[:, 2]),
        payload=np.where(kind == 3, payload, 0),
        payload_bytes=np.where(kind == 3, 8, 0),
    )


def quic(world: World, count: int, opening: float = 0.04) -> Packets:
    """QUIC of browsers."""
    chance = world.chance
    kind = mixed(chance, count, {0: opening, 1: opening, 2: 1 - 2 * opening})
    state = np.array([OPENING, SHAKEN, IN_USE])[kind]
    source, known = who(world, QUIC, state)
    first = np.select(
        [kind == 0, kind == 1],
        [chance.integers(0xC0, 0xD0, count), chance.integers(0xE0, 0xF0, count)],
        chance.integers(0x40, 0x80, count),
    )
    short = np.where(chance.random(count) < 0.3, chance.integers(600, 1379, count), chance.integers(52, 91, count))
    length = np.where(kind == 2, short, np.where(chance.random(count) < 0.5, 1228, 1278))
    long = payload_of((first << 32) | 1, 5, _random(world, count))
    payload = np.where(kind == 2, payload_of(first, 1, _random(world, count)), long)
    return packets(
        world,
        source,
        HOST[QUIC],
        UDP,
        0.08,
        destination_port=443,
        length=length,
        state=state,
        known=known,
        ttl=world.ttl(source),
        payload=payload,
        payload_bytes=8,
    )


def other(world: World, count: int) -> Packets:
    """Echo requests, answers to own queries, later fragments of voice; and SSH."""
    chance = world.chance
    kind = mixed(chance, count, {0: 0.2, 1: 0.05, 2: 0.05, 3: 0.7})
    parts = []
    for which, size in enumerate(np.bincount(kind, minlength=4)):
        source = world.fresh(size)
        ttl, length = world.ttl(source), chance.integers(60, 500, size)
        match which:
            case 0:
                parts.append(packets(world, source, 80, ICMP, length=84, ttl=ttl, payload_bytes=8))
            case 1:
                parts.append(
                    packets(
                        world,
                        source,
                        53,
                        UDP,
                        source_port=53,
                        destination_port=chance.integers(1024, 65536, size),
                        length=length,
                        ttl=ttl,
                        payload_bytes=8,
                        known=1,
                    )
                )
            case 2:
                parts.append(
                    packets(
                        world,
                        source,
                        20,
                        UDP,
                        source_port=0,
                        destination_port=0,
                        fragment=2,
                        length=length,
                        ttl=ttl,
                        payload_bytes=8,
                    )
                )
            case _:
                state = mixed(chance, size, {OPENING: 0.02, SHAKEN: 0.02, IN_USE: 0.96})
                source, known = who(world, SSH, state)
                opens = state == OPENING
                parts.append(
                    packets(
                        world,
                        source,
                        22,
                        TCP,
                        destination_port=22,
                        length=np.where(opens, 60, 100),
                        state=state,
                        known=known,
                        tcp_flags=np.where(opens, SYN, ACK),
                        window=np.where(opens, 64240, 501),
                        ttl=world.ttl(source, 64),
                        options=np.where(opens, STACKS[0, 0], 0x0101080A),
                    )
                )
    return Packets.joined(parts)


USUAL = {OPENING: 0.005, SHAKEN: 0.005, IN_USE: 0.99}
NORMAL: Mapping[str, tuple[float, Callable[[World, int], Packets]]] = {
    "game": (24_000, lambda world, count: game(world, count, USUAL)),
    "voice": (10_000, lambda world, count: voice(world, count, {OPENING: 0.002, SHAKEN: 0.002, IN_USE: 0.996})),
    "dns": (3_000, dns),
    "web": (6_000, web),
    "quic": (5_000, quic),
    "other": (700, other),
}
RATE = sum(rate for rate, _ in NORMAL.values())


def normal(world: World, seconds: float, one_in: float) -> Packets:
    """Return samples of some seconds of normal traffic."""
    parts = []
    for rate, make in NORMAL.values():
        count = world.chance.poisson(rate * world.level * seconds / one_in)
        parts.append(make(world, count))
    return scaled(Packets.joined(parts), one_in)


def scaled(rows: Packets, one_in: float) -> Packets:
    """Return rows that each stand for a number of packets."""
    return Packets({name: rows[name] if name != "stands_for" else np.full(len(rows), one_in) for name in COLUMNS})


def _opening(share: float) -> dict[int, float]:
    return {OPENING: share, SHAKEN: share, IN_USE: 1 - 2 * share}


# Additional traffic per second, and its share of openings in the steady state.
CROWDS: Mapping[str, tuple[float, float, Callable[[World, int, float], Packets]]] = {
    "game launch": (96_000, 0.03, lambda world, count, share: game(world, count, _opening(share))),
    "web news": (48_000, 0.06, web),
    "quic news": (40_000, 0.08, quic),
    "conference": (30_000, 0.01, lambda world, count, share: voice(world, count, _opening(share))),
    "dns name": (12_000, 0.15, dns),
}


def crowd(world: World, name: str, size: float, after: float, seconds: float, one_in: float) -> Packets:
    """Return samples of a crowd, from `after` seconds on; it takes 2 s to arrive."""
    rate, share, make = CROWDS[name]
    now = rate * size * min(1.0, (after + seconds / 2) / 2.0)
    share = min(share * (1 + 3 * np.exp(-after / 0.3)), 0.4)
    count = world.chance.poisson(now * seconds / one_in)
    return scaled(make(world, count, share), one_in)
