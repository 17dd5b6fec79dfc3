"""Floods: samples of each vector's packets. By default spoofed, with random source port, TTL, id and payload."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spectrum.core.ddos.packets import FIRST_FRAGMENT, IN_USE, LATER_FRAGMENT, OPENING, SHAKEN, Packets
from spectrum.simulation.normal import (
    ACK,
    FIN,
    GRE,
    ICMP,
    RST,
    STACKS,
    SYN,
    TCP,
    UDP,
    Numbers,
    World,
    game,
    mixed,
    packets,
    payload_of,
    scaled,
)

Vector = Callable[[World, int], Packets]


def spoofed(world: World, count: int) -> Numbers:
    """Return random addresses."""
    return world.chance.integers(1 << 24, 223 << 24, count)


def hosts(world: World, count: int, many: int, seed: int = 7) -> Numbers:
    """Return addresses of some hosts, the same ones each time."""
    return np.random.default_rng(seed).integers(1 << 24, 223 << 24, many)[world.chance.integers(0, many, count)]


def _ttl(world: World, count: int, low: int = 40, high: int = 120) -> Numbers:
    return world.chance.integers(low, high + 1, count)


def _spoofed(world: World, count: int, host: Numbers | int, protocol: int, six: float = 0.0, **given: Any) -> Packets:
    """Return packets with random source and TTL, and a random payload unless given."""
    given = {"ttl": _ttl(world, count), "payload_bytes": 0 if "payload" in given else 8} | given
    return packets(world, spoofed(world, count), host, protocol, six, **given)


def _lengths(world: World, count: int, shortest: int, longest: int) -> Numbers:
    return world.chance.integers(shortest, longest + 1, count)


def _to_game(world: World, count: int, length: Numbers | int, **given: Any) -> Packets:
    return _spoofed(world, count, 10, UDP, destination_port=7000, length=length, **given)


def _to_web(world: World, count: int, flags: int, length: int = 40, six: float = 0.0, **given: Any) -> Packets:
    """Return segments without data, with a random window unless given."""
    given = {"window": world.chance.integers(0, 65536, count)} | given
    return _spoofed(
        world, count, 80, TCP, six, destination_port=443, length=length, tcp_flags=flags, payload=0, **given
    )


def _queries(world: World, count: int, flags: int) -> Numbers:
    """Return the begin of queries with one question, with random identifiers (RFC 1035, 4.1.1)."""
    identifiers = world.chance.integers(0, 65536, count, np.uint64)
    return (identifiers << np.uint64(48)) | np.uint64(flags << 32 | 1 << 16)


def udp_random(world: World, count: int) -> Packets:
    return _to_game(world, count, _lengths(world, count, 48, 328))


def udp_random_ttl(world: World, count: int) -> Packets:
    ttl = mixed(world.chance, count, {51: 1, 52: 1, 53: 1, 117: 1})
    return _to_game(world, count, _lengths(world, count, 48, 1228), ttl=ttl)


def udp_fixed(world: World, count: int) -> Packets:
    return _to_game(world, count, 540, payload=np.uint64(0x4141414141414141), payload_bytes=8)


def udp_empty(world: World, count: int) -> Packets:
    return _spoofed(world, count, 80, UDP, destination_port=443, length=28, payload=0)


def reflection(
    port: int,
    low: int,
    high: int,
    servers: int,
    first: tuple[int, int] = (0, 0),
    fragments: tuple[float, float] = (0, 0),
) -> Vector:
    """Return answers of servers to forged queries of the attacker.

    Args:
        port: The servers' port.
        low: The shortest length.
        high: The longest length.
        servers: The number of servers.
        first: The begin of payloads, and its number of bytes.
        fragments: The shares of all packets that are first and later fragments.
    """

    def make(world: World, count: int) -> Packets:
        kind = mixed(world.chance, count, {0: 1 - sum(fragments), 1: fragments[0], 2: fragments[1]})
        later = kind == LATER_FRAGMENT
        source = hosts(world, count, servers, port)
        payload = world.chance.integers(0, 1 << 63, count, np.uint64) << np.uint64(1)
        if first[1]:
            payload = np.where(later, payload, payload_of(np.full(count, first[0]), first[1], payload))
        return packets(
            world,
            source,
            80,
            UDP,
            source_port=np.where(later, 0, port),
            fragment=kind,
            payload=payload,
            payload_bytes=8,
            destination_port=np.where(later, 0, world.chance.integers(1024, 65536, count)),
            ttl=world.ttl(source),
            length=np.where(kind == FIRST_FRAGMENT, 1500, world.chance.integers(low, high + 1, count)),
        )

    return make


def syn_random(world: World, count: int) -> Packets:
    return _to_web(world, count, SYN)


def syn_fixed(world: World, count: int) -> Packets:
    return _to_web(world, count, SYN, 44, window=5840, options=0x02000000, ttl=_ttl(world, count, 241, 243))


def syn_os(world: World, count: int, **given: Any) -> Packets:
    source = spoofed(world, count)
    stack = STACKS[world.chance.integers(0, 6, count)]
    return packets(
        world,
        source,
        80,
        TCP,
        destination_port=443,
        length=60,
        tcp_flags=SYN,
        payload=0,
        window=stack[:, 1],
        options=stack[:, 0],
        ttl=world.ttl(source, stack[:, 2]),
        **given,
    )


def syn_sequence(world: World, count: int) -> Packets:
    """SYNs as of clients, all of one sequence number, such as that of bots that put the target's address there."""
    return syn_os(world, count, sequence=203 << 24 | 113 << 8 | 80)


def ack_random(world: World, count: int) -> Packets:
    return _to_web(world, count, ACK)


def ack_constant(world: World, count: int) -> Packets:
    """ACKs that differ in everything but what they acknowledge."""
    return _to_web(world, count, ACK, acknowledgement=0x12345678)


def rst_flood(world: World, count: int) -> Packets:
    return _to_web(world, count, RST, window=0, ttl=_ttl(world, count, 30, 60))


def synack_reflection(world: World, count: int) -> Packets:
    source = hosts(world, count, 20_000)
    return packets(
        world,
        source,
        80,
        TCP,
        source_port=mixed(world.chance, count, {80: 1, 443: 1}),
        payload=0,
        length=44,
        destination_port=world.chance.integers(1024, 65536, count),
        tcp_flags=SYN | ACK,
        window=65535,
        options=0x02000000,
        ttl=world.ttl(source),
    )


def fragments(world: World, count: int) -> Packets:
    ports = {"source_port": 0, "destination_port": 0}  # fragments have none
    length = _lengths(world, count, 500, 1500)
    return _spoofed(world, count, 20, UDP, fragment=LATER_FRAGMENT, length=length, **ports)


def icmp_flood(world: World, count: int) -> Packets:
    return _spoofed(world, count, 80, ICMP, length=mixed(world.chance, count, {84: 1, 1028: 1}))


def gre_flood(world: World, count: int) -> Packets:
    source = hosts(world, count, 9_000)
    return packets(world, source, 80, GRE, length=540, ttl=world.ttl(source), payload_bytes=8)


def carpet(world: World, count: int) -> Packets:
    return _spoofed(
        world,
        count,
        world.chance.integers(0, 256, count),
        UDP,
        destination_port=world.chance.integers(1024, 65536, count),
        length=_lengths(world, count, 600, 1428),
    )


def pulse(world: World, count: int) -> Packets:
    return _to_game(world, count, _lengths(world, count, 100, 1400), source_port=30120)


def mirai_udpplain(world: World, count: int) -> Packets:
    source = hosts(world, count, 5_000)
    return packets(
        world, source, 10, UDP, destination_port=7000, length=540, ttl=world.ttl(source, 64), payload_bytes=8
    )


def game_replay(world: World, count: int) -> Packets:
    captured = game(World(99), 200, {IN_USE: 1.0})
    rows = captured.where(world.chance.integers(0, 200, count))
    source = spoofed(world, count)
    return packets(
        world,
        source,
        10,
        UDP,
        destination_port=7000,
        length=rows["length"],
        ttl=world.ttl(source),
        payload=rows["payload"],
        payload_bytes=8,
    )


def dns_queries(world: World, count: int) -> Packets:
    """Queries of usual form, from forged addresses."""
    return _spoofed(
        world,
        count,
        53,
        UDP,
        destination_port=53,
        length=_lengths(world, count, 56, 100),
        payload=_queries(world, count, 0x0100),
        payload_bytes=8,
    )


def connections(world: World, count: int) -> Packets:
    source = hosts(world, count, 5_000)
    shaken = world.chance.random(count) < 0.5
    return packets(
        world,
        source,
        80,
        TCP,
        destination_port=443,
        length=np.where(shaken, 52, 60),
        payload=0,
        state=np.where(shaken, SHAKEN, OPENING),
        tcp_flags=np.where(shaken, ACK, SYN),
        window=np.where(shaken, 502, 64240),
        options=np.where(shaken, 0x0101080A, STACKS[0, 0]),
        ttl=world.ttl(source, 64),
    )


def sport_fixed(world: World, count: int) -> Packets:
    return _spoofed(
        world,
        count,
        80,
        UDP,
        source_port=80,
        destination_port=world.chance.integers(1024, 65536, count),
        length=world.chance.integers(60, 1400, count),
        payload_bytes=8,
    )


def v6_udp(world: World, count: int) -> Packets:
    source = (0x0A0B0000) | world.chance.integers(0, 1 << 16, count)
    length, ttl = _lengths(world, count, 80, 1000), _ttl(world, count)
    return packets(world, source, 10, UDP, 1.0, destination_port=7000, length=length, ttl=ttl, payload_bytes=8)


def v6_syn(world: World, count: int) -> Packets:
    return _to_web(world, count, SYN, 60, six=1.0)


DNS_REFLECTION = reflection(53, 1100, 1500, 3000, fragments=(0.2, 0.16))


def multi(world: World, count: int) -> Packets:
    third = count // 3
    return Packets.joined(
        [DNS_REFLECTION(world, third), syn_random(world, third), ack_random(world, count - 2 * third)]
    )


VECTORS: Mapping[str, Vector] = {
    "udp_random": udp_random,
    "udp_random_ttl": udp_random_ttl,
    "udp_fixed": udp_fixed,
    "udp_empty": udp_empty,
    "dns_reflection": DNS_REFLECTION,
    "ntp_reflection": reflection(123, 468, 468, 800, (0xD700, 2)),
    "ssdp_reflection": reflection(1900, 300, 420, 8000, (0x4854, 2)),
    "memcached_reflection": reflection(11211, 1428, 1428, 300),
    "cldap_reflection": reflection(389, 1400, 1500, 2000, (0x3084, 2), (0.3, 0.21)),
    "wsd_reflection": reflection(3702, 600, 1300, 1500, (0x3C3F, 2)),
    "chargen_reflection": reflection(19, 200, 1500, 500),
    "syn_random": syn_random,
    "syn_fixed": syn_fixed,
    "syn_os": syn_os,
    "syn_sequence": syn_sequence,
    "ack_random": ack_random,
    "ack_constant": ack_constant,
    "rst_flood": rst_flood,
    "synack_reflection": synack_reflection,
    "fragments": fragments,
    "icmp_flood": icmp_flood,
    "gre_flood": gre_flood,
    "carpet": carpet,
    "pulse": pulse,
    "mirai_udpplain": mirai_udpplain,
    "game_replay": game_replay,
    "dns_queries": dns_queries,
    "connections": connections,
    "sport_fixed": sport_fixed,
    "v6_udp": v6_udp,
    "v6_syn": v6_syn,
    "multi": multi,
}
INTENSITIES = (3, 10, 30)


# --- test set: written after detection, and never used for tuning
# -------------------------------------------------------


def fin_flood(world: World, count: int) -> Packets:
    return _to_web(world, count, FIN)


def esp_flood(world: World, count: int) -> Packets:
    return _spoofed(world, count, 22, 50, length=_lengths(world, count, 100, 1399))


def rtp_random(world: World, count: int) -> Packets:
    """To a range of served ports, with payloads that begin like voice."""
    payload = payload_of(np.full(count, 0x80), 1, world.chance.integers(0, 1 << 63, count, np.uint64) << np.uint64(1))
    return _spoofed(
        world,
        count,
        20,
        UDP,
        destination_port=world.chance.integers(10000, 10400, count),
        length=200,
        payload=payload,
        payload_bytes=8,
    )


def quic_initial(world: World, count: int) -> Packets:
    """Long headers of usual form, of random length."""
    first = world.chance.integers(0xC0, 0xD0, count)
    payload = payload_of((first << 32) | 1, 5, world.chance.integers(0, 1 << 63, count, np.uint64) << np.uint64(1))
    return _spoofed(
        world,
        count,
        80,
        UDP,
        destination_port=443,
        length=world.chance.integers(1228, 1400, count),
        payload=payload,
        payload_bytes=8,
    )


def dns_water_torture(world: World, count: int) -> Packets:
    """Queries from real, open resolvers, for names that do not exist."""
    source = hosts(world, count, 20_000)
    return packets(
        world,
        source,
        53,
        UDP,
        destination_port=53,
        length=world.chance.integers(60, 90, count),
        ttl=world.ttl(source),
        payload=_queries(world, count, 0x0010),
        payload_bytes=8,
    )


def syn_with_data(world: World, count: int) -> Packets:
    return _spoofed(
        world,
        count,
        22,
        TCP,
        destination_port=22,
        length=1000,
        tcp_flags=SYN,
        window=8192,
        payload_bytes=8,
    )


HELD_OUT: Mapping[str, Vector] = {
    "fin_flood": fin_flood,
    "esp_flood": esp_flood,
    "rtp_random": rtp_random,
    "quic_initial": quic_initial,
    "dns_water_torture": dns_water_torture,
    "syn_with_data": syn_with_data,
    "snmp_reflection": reflection(161, 900, 1400, 1200, (0x3082, 2)),
}
EVERY: Mapping[str, Vector] = {**VECTORS, **HELD_OUT}


def flood(world: World, name: str, packets_per_s: float, seconds: float, one_in: float) -> Packets:
    """Return samples of a flood."""
    vector = EVERY[name]
    return scaled(vector(world, int(world.chance.poisson(packets_per_s * seconds / one_in))), one_in)
